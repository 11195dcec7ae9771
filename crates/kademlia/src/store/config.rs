//! Bounds and times of a store.

use std::time::Duration;

/// How long a value is kept after it was put or renewed (Maymounkov & Mazières 2002, §2.5).
pub const VALUE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a provider is remembered. Providers come and go with the nodes, so it is much shorter than for values.
pub const PROVIDER_TTL: Duration = Duration::from_secs(2 * 60 * 60);

/// How often a value is given to the nodes that are closest to it by then (Maymounkov & Mazières 2002, §2.5).
pub const REPUBLISH_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// What a record counts for beyond its own bytes: the space that it and its places in all indices take up.
pub const ITEM_OVERHEAD: usize = 1024;

/// The most address prefixes that vouch for a record.
pub const MAX_SPONSORS: usize = 4;

/// Bounds and times of a [`Store`](crate::Store).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Bytes in all, [`ITEM_OVERHEAD`] for each record included.
    pub max_bytes: usize,
    /// Of these, charged to one address prefix (IPv4 /24, IPv6 /48).
    pub prefix_bytes: usize,
    /// Bytes of the provider records of one key, counted likewise. There is one value for a key at most.
    pub key_bytes: usize,
    /// Provider records of one key from one address prefix.
    pub key_prefix_providers: usize,
    /// The longest time for which a value is kept.
    pub value_ttl: Duration,
    /// The longest time for which a provider is remembered.
    pub provider_ttl: Duration,
    /// How often a value is republished.
    pub republish_interval: Duration,
    /// Whether what counts by address prefix counts for loopback and private addresses too.
    pub limit_local: bool,
    /// Whether anything counts by address prefix. Without it, one address can push everybody's records out: for tests that show so.
    pub quotas: bool,
}

impl Default for StoreConfig {
    /// 64 MiB in all, 1 MiB for a prefix, 64 KiB of providers for a key, 4 of them from a prefix; values for 24 h, republished
    /// hourly, providers for 2 h; local addresses are exempt.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            prefix_bytes: 1 << 20,
            key_bytes: 64 << 10,
            key_prefix_providers: 4,
            value_ttl: VALUE_TTL,
            provider_ttl: PROVIDER_TTL,
            republish_interval: REPUBLISH_INTERVAL,
            limit_local: false,
            quotas: true,
        }
    }
}

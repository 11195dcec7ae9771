//! What a routing table is built to.

use std::net::IpAddr;
use std::time::Duration;

use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;

/// The most contacts that a bucket can be made to hold, and the most that can wait for a place in it.
pub const MAX_K: usize = 32;

const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(366 * 24 * 3600);

/// Settings of a [`Table`](super::Table). Values out of range count as the nearest that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// Contacts per bucket, 1 to [`MAX_K`].
    pub k: usize,
    /// Contacts that wait for a place, per bucket, 0 to [`MAX_K`].
    pub replacements: usize,
    /// Whether the limits by address prefix hold.
    pub caps: bool,
    /// Contacts and replacements of one IPv4 /24 or IPv6 /48 in a bucket.
    pub per_bucket_prefix: usize,
    /// Contacts of one IPv4 /24 or IPv6 /48 in the table.
    pub per_table_prefix: usize,
    /// Whether loopback, private and link-local addresses count for these limits too.
    pub limit_local: bool,
    /// Whether a full bucket evens out its sub-prefixes: see [the rule](super#who-gets-a-place).
    pub balance: bool,
    /// Failures in a row after which a contact is dead, 1 to 255.
    pub max_failures: u32,
    /// How long after its last answer a contact is checked; also how long one must have been known to be settled. From
    /// 1 s to 366 days, as the other times are.
    pub check_interval: Duration,
    /// How long after a failure the next check is made. Failures that follow each other faster are one failure: lookups that
    /// run side by side do not take a contact for dead three times over.
    pub retry_interval: Duration,
    /// How long after a lookup in its range a bucket is refreshed.
    pub bucket_refresh: Duration,
}

impl Default for TableConfig {
    /// 20 contacts and 8 replacements per bucket; 2 per bucket and 10 per table from a prefix, local ones exempt; balanced;
    /// dead after 3 failures; checks every 5 minutes, again 30 seconds after a failure; refreshed hourly.
    fn default() -> Self {
        Self {
            k: 20,
            replacements: 8,
            caps: true,
            per_bucket_prefix: 2,
            per_table_prefix: 10,
            limit_local: false,
            balance: true,
            max_failures: 3,
            check_interval: Duration::from_secs(5 * 60),
            retry_interval: Duration::from_secs(30),
            bucket_refresh: Duration::from_secs(3600),
        }
    }
}

impl TableConfig {
    pub(super) fn in_range(mut self) -> Self {
        self.k = self.k.clamp(1, MAX_K);
        self.replacements = self.replacements.min(MAX_K);
        self.max_failures = self.max_failures.clamp(1, u8::MAX.into());
        for interval in [&mut self.check_interval, &mut self.retry_interval, &mut self.bucket_refresh] {
            *interval = (*interval).clamp(MIN_INTERVAL, MAX_INTERVAL);
        }
        self
    }

    /// The prefix that a contact at this address counts for, if any.
    pub(super) fn counted(&self, ip: Option<IpAddr>) -> Option<Prefix> {
        ip.filter(|ip| self.caps && (self.limit_local || !is_local(*ip))).map(Prefix::of)
    }
}

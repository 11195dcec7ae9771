//! The list of all targets.

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Names its program in `fuzz/fuzz_targets` and its folders in `fuzz/corpus` and `fuzz/regressions`.
    pub name: &'static str,
    /// The longest input that is worth making.
    pub max_len: usize,
    /// What it does with an input.
    pub run: fn(&[u8]),
    /// Inputs to begin with: valid encodings, and orders of events that lead somewhere.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident $max_len:literal)*) => {
        /// All of them, in the order of their names.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            max_len: $max_len,
            run: crate::$name::run,
            seeds: crate::$name::seeds,
        }),*];
    };
}

targets! {
    backoff 256
    ban_list 160
    byte_budget 256
    certificate 256
    close_reason 320
    codec 256
    control 256
    dht_connections 160
    dht_datagram 160
    dht_dials 128
    dht_lookup 160
    dht_message 768
    dht_rate 192
    dht_state 512
    dht_store 160
    dht_table 128
    endpoint 384
    event_bus 128
    handshake 128
    handshake_limiter 160
    handshake_message 768
    messages 256
    mux_hostile 160
    mux_pair 128
    observed_address 192
    peer_id 64
    pem 256
    ping 192
    prefix_counter 160
    protocol_id 80
    record 512
    registry 96
    registry_pair 96
    remembered 512
    reputation 160
    stream_header 80
    token_bucket 256
    turns 96
    version 160
}

//! What memory this process takes, for a run that watches it: alone in its process, or it would see that of others.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

static WATCHED: AtomicBool = AtomicBool::new(false);

/// From now on, scenarios watch the memory.
pub(crate) fn watch() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// KiB that are resident, if anybody watches and the system tells.
pub(crate) fn resident() -> Option<u64> {
    if !WATCHED.load(Ordering::Relaxed) {
        return None;
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

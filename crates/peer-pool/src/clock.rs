//! Some instant for tests and models to begin with.

/// Some instant.
#[expect(clippy::disallowed_methods, reason = "nothing depends on which instant it is")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

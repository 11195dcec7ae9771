//! Some instant for tests to begin with.

#[expect(clippy::disallowed_methods, reason = "nothing depends on which instant it is")]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

//! What can go wrong in this crate.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No runtime was given and none was found.
    #[error("no runtime: call from inside tokio, enable the `smol` feature, or pass a runtime explicitly")]
    NoRuntime,
    /// The runtime that was given, or around the caller, has ended.
    #[error("the runtime has ended: keep the tokio runtime for as long as anything uses it")]
    RuntimeEnded,
    /// A tokio runtime was built without what everything here stands on.
    #[error("the tokio runtime has no {0}: build it with `enable_all`")]
    NoDriver(&'static str),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

//! [`SendLimits`].

/// Bounds of a message queue.
#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    /// Bytes of the longest message, at most 2^31.
    pub max_message: usize,
    /// Messages that may wait.
    pub queue_messages: usize,
    /// Bytes that may wait. A message that finds the queue empty may always be queued.
    pub queue_bytes: usize,
}

impl Default for SendLimits {
    /// Messages of 1 MiB; 128 messages and 4 MiB waiting.
    fn default() -> Self {
        Self { max_message: 1 << 20, queue_messages: 128, queue_bytes: 4 << 20 }
    }
}

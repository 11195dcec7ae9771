//! quinn's congestion control, observed: what remotes acknowledge, and whether the line has a queue.

use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use crate::shaper::{Observer, Shaper};
use crate::shortest::NEAR;

/// A round trip that is longer than the shortest by this has waited in a queue. Acknowledgements alone may be 25 ms late
/// (RFC 9000 §18.2, `max_ack_delay`).
const QUEUE: Duration = Duration::from_millis(40);

/// Makes what quinn uses by default, and tells a shaper of it.
#[derive(Debug)]
pub(super) struct Observed(Arc<Shaper>);

impl Observed {
    pub(super) fn by(shaper: &Arc<Shaper>) -> Self {
        Self(shaper.clone())
    }
}

impl ControllerFactory for Observed {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::new(CubicConfig::default()).build(now, current_mtu);
        let line = Line { observer: self.0.observer(), acked: 0, held: false, app_limited: true, rtt: None };
        Box::new(Cubic { inner, line })
    }
}

struct Cubic {
    inner: Box<dyn Controller>,
    line: Line,
}

/// What is seen of one connection's line.
#[derive(Clone)]
struct Line {
    observer: Observer,
    /// Since the observer was told the last time.
    acked: u64,
    held: bool,
    /// There was less to send than the congestion window allows: then it is not the line that holds the connection back.
    app_limited: bool,
    /// The shortest round trip; `None` before the first acknowledgement.
    rtt: Option<Duration>,
}

impl Line {
    fn is_near(&self) -> Option<bool> {
        self.rtt.map(|rtt| rtt < NEAR)
    }
}

thread_local! {
    /// Whether the remote is near to which this thread has made a packet.
    static NEAR_REMOTE: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether the remote is near for which this thread has just made a packet, if that is known; once. quinn makes a
/// connection's packets right before it asks whether the socket takes them, and has no other way between its congestion
/// control and its socket.
pub(super) fn take_near_remote() -> Option<bool> {
    NEAR_REMOTE.take()
}

impl Controller for Cubic {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
        NEAR_REMOTE.set(self.line.is_near());
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        let (line, took) = (&mut self.line, now.saturating_duration_since(sent));
        line.app_limited = app_limited;
        line.rtt = Some(rtt.min());
        line.acked += bytes;
        if line.is_near() == Some(false) && !app_limited && !line.held && took > rtt.min() + QUEUE {
            // quinn takes the wait for the shaper's turn for a part of the round trip.
            line.held = took > rtt.min() + QUEUE + line.observer.round() * 3 / 2;
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        let line = &mut self.line;
        let (acked, held) = (std::mem::take(&mut line.acked), std::mem::take(&mut line.held));
        if line.is_near() == Some(false) && line.observer.watches() {
            line.observer.took(acked as usize, line.rtt.filter(|_| held));
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.line.held |= !self.line.app_limited;
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), line: self.line.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

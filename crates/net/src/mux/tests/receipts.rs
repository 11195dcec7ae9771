//! What the core says of streams that have ended, and what it believes.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::super::frame::{HEADER_LEN, Header, Kind};
use super::super::model::Peer;
use super::{BOUNDS, cx};
use crate::Error;
use crate::mux::Side;
use crate::receipt::{MAX_ORPHANS, Receipt};

/// Two sides of which the first has finished stream 1, and the receipt.
fn finished(content: &'static [u8]) -> ([Peer; 2], Arc<Receipt>) {
    let mut peers = [Peer::new(Side::Dialer, BOUNDS), Peer::new(Side::Listener, BOUNDS)];
    let receipt = Arc::<Receipt>::default();
    peers[0].core.open().unwrap();
    assert!(peers[0].core.write(&mut cx(), 1, &mut [Bytes::from_static(content)]).is_ready());
    peers[0].core.finish(1, Some(&receipt)).unwrap();
    deliver(&mut peers, 0);
    assert!(receipt.outcome().is_none());
    (peers, receipt)
}

/// Lets all that `side` has to send arrive.
fn deliver(peers: &mut [Peer; 2], side: usize) {
    let frames = peers[side].output();
    frames.iter().for_each(|chunk| peers[1 - side].incoming.extend_from_slice(chunk));
    peers[1 - side].arrive(usize::MAX).unwrap();
}

#[test]
fn a_receipt_says_that_the_end_was_read_and_no_less() {
    let (mut peers, receipt) = finished(b"all");
    assert!(matches!(peers[1].core.read(&mut cx(), 1, 2), Poll::Ready(Ok(Some(_)))));
    assert!(matches!(peers[1].core.read(&mut cx(), 1, 2), Poll::Ready(Ok(Some(_)))));
    deliver(&mut peers, 1);
    assert!(receipt.outcome().is_none() && peers[0].core.awaited().is_some());
    assert!(matches!(peers[1].core.read(&mut cx(), 1, 2), Poll::Ready(Ok(None))));
    deliver(&mut peers, 1);
    assert!(matches!(receipt.outcome(), Some(Ok(()))));
    assert!(peers[0].core.awaited().is_none());
}

#[test]
fn who_drops_what_has_arrived_says_so() {
    // Bytes that wait, bytes that the reader has taken and not used, nothing but the end, and nobody who waits.
    for (read, consumed, silent, expected) in [
        (false, true, false, Some(Err(5))),
        (true, false, false, Some(Err(5))),
        (true, true, false, Some(Ok(()))),
        (false, true, true, None),
    ] {
        let (mut peers, receipt) = finished(b"all");
        if silent {
            peers[1].core.set_silent(1);
        }
        if read {
            assert!(peers[1].core.read(&mut cx(), 1, 3).is_ready());
        }
        peers[1].core.stop(1, 5, consumed);
        deliver(&mut peers, 1);
        let outcome = receipt.outcome().map(|outcome| match outcome {
            Err(Error::Stopped(code)) => Err(code),
            Err(error) => panic!("{error}"),
            Ok(()) => Ok(()),
        });
        assert_eq!(outcome, expected, "{read} {consumed} {silent}");
    }
}

#[test]
fn a_remote_that_stopped_with_0_may_have_all_that_it_needs() {
    for (code, queued) in [(0, true), (7, false)] {
        let mut peers = [Peer::new(Side::Dialer, BOUNDS), Peer::new(Side::Listener, BOUNDS)];
        peers[0].core.open().unwrap();
        deliver(&mut peers, 0);
        peers[1].core.stop(1, code, true);
        deliver(&mut peers, 1);
        let receipt = Arc::<Receipt>::default();
        assert_eq!(peers[0].core.finish(1, Some(&receipt)).is_ok(), queued);
        let told = matches!(receipt.outcome(), Some(Err(Error::Stopped(0))));
        assert_eq!(told, queued);
        // Nobody waits for the end of a stream that was ended silently.
        assert!(peers[0].core.awaited().is_none());
    }
}

#[test]
fn receipts_without_end_are_harmless() {
    let (mut peers, receipt) = finished(b"all");
    for _ in 0..10_000 {
        peers[0].incoming.extend_from_slice(&Header { kind: Kind::Read, len: 0, stream: 1 }.encode());
    }
    peers[0].arrive(usize::MAX).unwrap();
    assert!(matches!(receipt.outcome(), Some(Ok(()))));
    assert!(peers[0].core.out.is_empty(), "nothing is answered");
    peers[0].core.check();
}

#[test]
fn a_remote_that_gives_no_receipts_is_remembered_within_bounds() {
    let mut peer = Peer::new(Side::Dialer, BOUNDS);
    for _ in 0..2 * MAX_ORPHANS {
        let id = peer.core.open().unwrap();
        peer.core.finish(id, Some(&Arc::default())).unwrap();
        peer.core.stop(id, 0, true);
        peer.output();
    }
    peer.core.check();
    assert_eq!(peer.core.open_streams(), 0);
}

#[test]
fn the_end_is_said_to_be_read_once_however_often_it_is_looked_at() {
    let (mut peers, receipt) = finished(b"all");
    assert!(peers[1].core.read(&mut cx(), 1, 3).is_ready());
    deliver(&mut peers, 1);
    // The other direction is open, so the stream stays.
    for _ in 0..3 {
        assert!(matches!(peers[1].core.read(&mut cx(), 1, 3), Poll::Ready(Ok(None))));
    }
    let said: usize = peers[1].output().iter().map(Bytes::len).sum();
    assert_eq!(said, HEADER_LEN);
    assert!(receipt.outcome().is_none());
}

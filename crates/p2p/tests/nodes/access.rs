//! Who may connect, and who no longer.

use std::sync::Arc;
use std::time::Duration;

use p2p::access_control::{AccessControl, Action, AllowList, DenyList, Direction, Subject};
use p2p::{Config, DisconnectReason, Error, RejectReason};

use crate::common::{World, everywhere, exchange, shutdown};

const LONG: Duration = Duration::from_secs(600);

fn guarded(world: &World, access: impl AccessControl + 'static) -> Config {
    Config { access_control: Arc::new(access), ..world.config() }
}

#[test]
fn insertion_in_a_deny_list_disconnects_and_removal_lets_in_again() {
    everywhere(|world| async move {
        let list = DenyList::new();
        let mut pair = world.pair_with(world.config(), guarded(&world, list.clone())).await;
        let (a_id, b_id) = (pair.a.peer_id(), pair.b.peer_id());
        let mut beside = world.host().await;
        beside.connect(&pair.b.endpoint()).await.unwrap();
        beside.added().await;
        pair.b.added().await;
        assert!(list.insert(a_id));
        assert_eq!(pair.b.removed().await, DisconnectReason::Denied);
        let code = DisconnectReason::Denied.close_code();
        let there = pair.a.removed().await;
        assert!(matches!(there, DisconnectReason::Remote { code: c, .. } if c == code), "{there:?}");
        assert_eq!(pair.b.peer_ids(), [beside.peer_id()], "nobody else is touched");
        let refused = |error: &Error| matches!(error, Error::Handshake(e) if e.reason() == Some(&RejectReason::Denied));
        let error = pair.a.connect(&pair.b.endpoint()).await.unwrap_err();
        assert!(refused(&error), "{error:?}");
        let there = pair.b.refused().await;
        assert!(refused(&there), "{there:?}");
        // Nor may it be dialed.
        let error = pair.b.connect(&pair.a.endpoint().with_peer_id(a_id)).await.unwrap_err();
        assert!(matches!(error, Error::Denied(_)), "{error:?}");
        assert!(list.remove(a_id));
        assert_eq!(pair.a.connect(&pair.b.endpoint()).await.unwrap(), b_id);
        shutdown([pair.a, pair.b, beside]).await;
    });
}

#[test]
fn removal_from_an_allow_list_disconnects() {
    everywhere(|world| async move {
        let list = AllowList::new();
        let (mut a, mut b, stranger) =
            (world.host().await, world.host_with(guarded(&world, list.clone())).await, world.host().await);
        list.insert(a.peer_id());
        assert!(stranger.connect(&b.endpoint()).await.is_err());
        b.refused().await;
        a.connect(&b.endpoint()).await.unwrap();
        a.added().await;
        b.added().await;
        assert!(list.remove(a.peer_id()));
        assert_eq!(b.removed().await, DisconnectReason::Denied);
        a.removed().await;
        assert!(a.connect(&b.endpoint()).await.is_err());
        shutdown([a, b, stranger]).await;
    });
}

/// Talks to peers that it dialed and to no other.
#[derive(Debug)]
struct OutboundOnly;

impl AccessControl for OutboundOnly {
    fn allow(&self, _: &Subject<'_>, action: Action) -> bool {
        action == Action::Connect(Direction::Outbound)
    }
}

#[test]
fn a_policy_of_ones_own_decides_by_direction() {
    everywhere(|world| async move {
        let (a, b) = (world.host().await, world.host_with(guarded(&world, OutboundOnly)).await);
        assert!(a.connect(&b.endpoint()).await.is_err());
        b.connect(&a.endpoint()).await.unwrap();
        assert_eq!(b.outbound_peers().len(), 1);
        shutdown([a, b]).await;
    });
}

#[test]
fn a_banned_peer_is_gone_until_it_is_unbanned() {
    everywhere(|world| async move {
        let mut pair = world.pair().await;
        let (a_id, b_id) = (pair.a.peer_id(), pair.b.peer_id());
        pair.b.ban(&a_id, LONG);
        assert_eq!(pair.b.removed().await, DisconnectReason::Banned);
        let code = DisconnectReason::Banned.close_code();
        assert!(matches!(pair.a.removed().await, DisconnectReason::Remote { code: c, .. } if c == code));
        let error = pair.a.connect(&pair.b.endpoint()).await.unwrap_err();
        assert!(matches!(&error, Error::Handshake(e) if e.reason() == Some(&RejectReason::Banned)), "{error:?}");
        pair.b.refused().await;
        let error = pair.b.connect(&pair.a.endpoint().with_peer_id(a_id)).await.unwrap_err();
        assert!(matches!(error, Error::Banned(peer) if peer == a_id), "{error:?}");
        // Who it is shows in the handshake only.
        let error = pair.b.connect(&pair.a.endpoint()).await.unwrap_err();
        assert!(matches!(error, Error::Banned(peer) if peer == a_id), "without an id: {error:?}");
        assert!(pair.b.unban(&a_id));
        assert!(!pair.b.unban(&a_id));
        pair.a.connect(&pair.b.endpoint()).await.unwrap();
        let (a_conn, b_conn) = (crate::common::conn(&pair.a, &b_id).await, crate::common::conn(&pair.b, &a_id).await);
        exchange(&a_conn, &b_conn).await;
        // A short one ends by itself.
        pair.b.ban(&a_id, Duration::from_millis(50));
        while pair.a.connect(&pair.b.endpoint()).await.is_err() {
            // Real time: it is only tried again.
            world.runtime.sleep(Duration::from_millis(10)).await;
        }
        shutdown([pair.a, pair.b]).await;
    });
}

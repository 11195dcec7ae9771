//! Applications that panic.

use std::sync::Arc;

use p2p::protocol::{Protocol, ProtocolKind};
use p2p::{DisconnectReason, Error};

use crate::common::{eventually, everywhere, exchange, id, in_time, info, shutdown};

#[test]
fn a_panic_ends_the_protocol_and_a_mandatory_one_ends_the_connection() {
    everywhere(|world| async move {
        for kind in [ProtocolKind::Optional, ProtocolKind::Mandatory] {
            let (mut a, mut b, honest) = (world.host().await, world.host().await, world.host().await);
            let (mut conns, _none) = (a.hold("/panics", kind), honest.hold("/panics", kind));
            let (mut x, mut at_honest) =
                (b.hold("/x", ProtocolKind::Optional), honest.hold("/x", ProtocolKind::Optional));
            b.speak("/panics", kind, |conn| async move {
                conn.recv().await?;
                panic!("a bug in the application");
            });
            honest.connect(&b.endpoint()).await.unwrap();
            b.added().await;
            let (there, here) = (x.recv().await.unwrap(), at_honest.recv().await.unwrap());
            a.connect(&b.endpoint()).await.unwrap();
            a.added().await;
            b.added().await;
            let conn = conns.recv().await.unwrap();
            conn.send("go").await.unwrap();
            if kind == ProtocolKind::Mandatory {
                let expected = DisconnectReason::ProtocolPanicked {
                    protocol: id("/panics"),
                    message: "a bug in the application".into(),
                };
                assert_eq!(b.removed().await, expected);
                let code = expected.close_code();
                assert!(matches!(a.removed().await, DisconnectReason::Remote { code: c, .. } if c == code));
            } else {
                assert!(matches!(in_time("the end", conn.recv()).await, Err(Error::ProtocolEnded)));
                assert_eq!((a.peers(), b.peers()), (1, 2));
            }
            exchange(&here, &there).await;
            shutdown([a, b, honest]).await;
        }
    });
}

#[test]
fn a_constructor_that_panics_harms_nobody_else() {
    everywhere(|world| async move {
        for kind in [ProtocolKind::Optional, ProtocolKind::Mandatory] {
            let (a, mut b, mut honest) = (world.host().await, world.host().await, world.host().await);
            let _conns = a.hold("/panics", kind);
            let panics = |_| -> Arc<dyn Protocol> { panic!("a bug in the application") };
            b.attach_dyn(info("/panics", kind), panics).unwrap();
            // On the dialing side as well as on the other.
            if kind == ProtocolKind::Optional {
                a.connect(&b.endpoint()).await.unwrap();
                b.added().await;
                assert!(b.peer(&a.peer_id()).is_some());
                a.disconnect(&b.peer_id(), 0, "").await;
                b.removed().await;
                b.connect(&a.endpoint()).await.unwrap();
                b.added().await;
            } else {
                let _ = a.connect(&b.endpoint()).await;
                let panicked = |error: &Error| {
                    matches!(error, Error::Disconnected(DisconnectReason::ProtocolPanicked { protocol, .. })
                        if *protocol == id("/panics"))
                };
                let refused = b.refused().await;
                assert!(panicked(&refused), "{refused:?}");
                let error = b.connect(&a.endpoint()).await.unwrap_err();
                assert!(panicked(&error), "{error:?}");
                eventually("nobody is connected", || a.peers() + b.peers() == 0).await;
                assert!(b.detach_protocol(&id("/panics")));
            }
            let (mut x, mut at_honest) =
                (b.hold("/x", ProtocolKind::Optional), honest.hold("/x", ProtocolKind::Optional));
            honest.connect(&b.endpoint()).await.unwrap();
            honest.added().await;
            exchange(&at_honest.recv().await.unwrap(), &x.recv().await.unwrap()).await;
            shutdown([a, b, honest]).await;
        }
    });
}

#[test]
fn a_task_of_a_protocol_that_panics_ends_alone() {
    everywhere(|world| async move {
        let pair = world.pair().await;
        for conn in [&pair.a_conn, &pair.b_conn] {
            let held = Arc::new(());
            let panics = held.clone();
            conn.spawn(async move {
                let _held = panics;
                panic!("a bug in a task of the application");
            });
            eventually("the task has ended", || Arc::strong_count(&held) == 1).await;
        }
        exchange(&pair.a_conn, &pair.b_conn).await;
        pair.shutdown().await;
    });
}

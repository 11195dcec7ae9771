//! Nodes that do not fit each other: both sides say why.

use p2p::protocol::ProtocolKind;
use p2p::{Error, RejectReason};

use crate::common::{Host, everywhere, shutdown};

/// What both sides give as the reason when `a` dials `b`.
async fn reasons(a: &mut Host, b: &mut Host) -> (RejectReason, RejectReason) {
    let reason = |error: &Error| match error {
        Error::Handshake(error) => error.reason().unwrap().clone(),
        other => panic!("{other:?}"),
    };
    let returned = reason(&a.connect(&b.endpoint()).await.unwrap_err());
    assert_eq!(returned, reason(&a.refused().await), "the event tells what the call does");
    let there = reason(&b.refused().await);
    assert_eq!((a.peers(), b.peers()), (0, 0));
    (returned, there)
}

#[test]
fn both_sides_name_the_mandatory_protocol_that_is_missing() {
    everywhere(|world| async move {
        for at_dialer in [true, false] {
            let (mut a, mut b) = (world.host().await, world.host().await);
            let _conns = if at_dialer {
                b.hold("/must", ProtocolKind::Mandatory)
            } else {
                a.hold("/must", ProtocolKind::Mandatory)
            };
            let (here, there) = reasons(&mut a, &mut b).await;
            for reason in [&here, &there] {
                assert!(matches!(reason, RejectReason::MissingProtocol { protocol, .. } if *protocol == "/must"));
            }
            assert_eq!(here.to_string().contains("on this node"), at_dialer, "{here}");
            assert_eq!(there.to_string().contains("on this node"), !at_dialer, "{there}");
            shutdown([a, b]).await;
        }
    });
}

#[test]
fn both_sides_name_both_versions() {
    everywhere(|world| async move {
        let with = |version: &str| p2p::Config { version: version.parse().unwrap(), ..world.config() };
        let (mut a, mut b) = (world.host_with(with("0.1.0")).await, world.host_with(with("0.2.0, >=0.1.0")).await);
        let (here, there) = reasons(&mut a, &mut b).await;
        let RejectReason::VersionIncompatible { ours, theirs } = here else { panic!("{here}") };
        let RejectReason::VersionIncompatible { ours: ours_there, theirs: theirs_there } = there else {
            panic!("{there}")
        };
        assert_eq!((&ours, &theirs), (&theirs_there, &ours_there));
        assert!(ours.starts_with("0.1.0") && theirs.starts_with("0.2.0"), "{ours} {theirs}");
        shutdown([a, b]).await;
        let (mut a, b) =
            (world.host_with(with("0.1.5, >=0.1.0")).await, world.host_with(with("0.2.0, >=0.1.0, <0.2.0")).await);
        // Each must accept the other, and these do.
        a.connect(&b.endpoint()).await.unwrap();
        a.added().await;
        shutdown([a, b]).await;
    });
}

#[test]
fn both_sides_name_both_networks() {
    everywhere(|world| async move {
        let with = |network: &str| p2p::Config { network: network.into(), ..world.config() };
        let (mut a, mut b) = (world.host_with(with("red")).await, world.host_with(with("blue")).await);
        let (here, there) = reasons(&mut a, &mut b).await;
        assert_eq!(here, RejectReason::NetworkMismatch { ours: "red".into(), theirs: "blue".into() });
        assert_eq!(there, RejectReason::NetworkMismatch { ours: "blue".into(), theirs: "red".into() });
        shutdown([a, b]).await;
    });
}

#[test]
fn somebody_else_at_the_endpoint_is_not_the_peer() {
    everywhere(|world| async move {
        let (a, b) = (world.host().await, world.host().await);
        let expected = crate::common::new_key().peer_id();
        let error = a.connect(&b.endpoint().with_peer_id(expected)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&expected.to_string()) && text.contains(&b.peer_id().to_string()), "{text}");
        assert_eq!((a.peers(), b.peers()), (0, 0));
        a.connect(&b.endpoint().with_peer_id(b.peer_id())).await.unwrap();
        shutdown([a, b]).await;
    });
}

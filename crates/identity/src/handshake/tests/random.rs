//! Any offers, any changed bit, any bytes.

use ProtocolKind::{Hidden, Mandatory, Optional};

use super::*;

fn any_protocols() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec((0u8..6, 0u8..3, 0u8..12), 0..6)
}

fn offers(n: u8, protocols: &[(u8, u8, u8)]) -> HandshakeParams {
    let mut params = params(n, &[]);
    for (id, version, kind) in protocols {
        let version = ["1.0.0", "1.1.0, >=1", "2.0.0"][usize::from(*version)].parse().unwrap();
        let kind = [Mandatory, Hidden, Optional][usize::from(*kind).min(2)];
        params.protocols.insert(format!("/{id}").parse().unwrap(), Offer { version, kind });
    }
    params
}

proptest! {
    #[test]
    fn both_sides_compute_the_same(ours in any_protocols(), theirs in any_protocols(), certified in any::<bool>()) {
        let (a, b) = (offers(1, &ours), offers(2, &theirs));
        let by_hand: BTreeSet<_> = a.protocols.iter()
            .filter(|(id, offer)| b.protocols.get(*id).is_some_and(|other| other.version.is_compatible_with(&offer.version)))
            .map(|(id, _)| id.clone())
            .collect();
        let lacking = a.protocols.iter().chain(&b.protocols)
            .any(|(id, offer)| offer.kind == Mandatory && !by_hand.contains(id));
        let alone = |ours: &HandshakeParams, theirs: &HandshakeParams| negotiate::negotiate(&ours.protocols, &theirs.protocols);
        match (alone(&a, &b), alone(&b, &a)) {
            (Ok(at_a), Ok(at_b)) => prop_assert!(at_a.keys().eq(at_b.keys())),
            (Err(at_a), Err(at_b)) => prop_assert_eq!(at_a.mirrored(), at_b, "both find the same fault first"),
            other => prop_assert!(false, "{:?}", other),
        }
        let (a, b, _) = Pair::new(a, b, certified).run();
        match (a, b) {
            (Ok(a), Ok(b)) => {
                prop_assert!(!lacking);
                prop_assert!(a.protocols.keys().eq(&by_hand) && b.protocols.keys().eq(&by_hand));
                for (id, at_a) in &a.protocols {
                    let at_b = &b.protocols[id];
                    prop_assert_eq!((at_a.local_kind, at_a.remote_kind), (at_b.remote_kind, at_b.local_kind));
                }
            }
            (Err(HandshakeError::Remote(a)), Err(HandshakeError::Refused(b))) => {
                prop_assert!(lacking);
                prop_assert_eq!(a.mirrored(), b);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Whatever one bit is changed on the way: over tcp no side believes what was not said.
    #[test]
    fn a_changed_message_is_refused(which in 0usize..4, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let pair = Pair::new(offers(1, &[(0, 0, 2), (1, 1, 2)]), offers(2, &[(0, 0, 2), (1, 1, 2)]), false);
        let (a, b, _) = pair.run_with(|n, message| {
            if n != which {
                return message;
            }
            let mut message = message.to_vec();
            let at = at.index(message.len());
            message[at] ^= 1 << bit;
            message.into()
        });
        // Hello, hello; then each side's accept, which can fail only at the other side, whose proof had arrived.
        prop_assert_eq!(a.is_ok(), which == 3, "{:?}", a);
        prop_assert_eq!(b.is_ok(), which == 2, "{:?}", b);
    }

    #[test]
    fn arbitrary_messages_are_no_panic(message in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..4) {
        let message = [&[crate::WIRE_VERSION, kind], &message[..]].concat();
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        prop_assert!(listener.on_message(&message).is_err());
    }
}

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MAX: usize = 100;
const SHARE: usize = 40;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn start() -> Instant {
    Instant::now()
}

fn prefix(n: u8) -> Option<Prefix> {
    (n > 0).then_some(Prefix::V4([8, 8, n]))
}

/// All that the ledger says, counted anew.
#[derive(Debug, Clone, PartialEq)]
struct Snapshot {
    bytes: usize,
    accounts: Vec<(Rank, usize, Vec<Prefix>)>,
}

impl Ledger {
    fn snapshot(&self) -> Snapshot {
        let accounts = self.accounts.values().map(|a| (a.rank, a.cost, a.sponsors.clone()));
        Snapshot { bytes: self.bytes, accounts: accounts.collect() }
    }

    /// That every index has what is there, and that the sums are right and within their bounds.
    fn check(&self) {
        let accounts = || self.accounts.values();
        assert_eq!(self.bytes, accounts().map(|a| a.cost).sum::<usize>());
        assert!(self.bytes <= MAX);
        assert_eq!(self.by_rank, accounts().map(|a| a.rank).collect());
        assert_eq!(self.by_expiry, accounts().map(|a| (a.rank.expires, a.rank.slot)).collect());
        assert!(accounts().all(|a| a.sponsors.len() <= MAX_SPONSORS));
        let sponsors: BTreeSet<_> = accounts().flat_map(|a| a.sponsors.iter().copied()).collect();
        assert_eq!(sponsors, self.shares.keys().copied().collect());
        for (sponsor, share) in &self.shares {
            let charged = || accounts().filter(|a| a.sponsors.contains(sponsor));
            assert_eq!(share.bytes, charged().map(|a| a.cost).sum::<usize>());
            assert!(share.bytes <= SHARE);
            assert_eq!(share.ranks, charged().map(|a| a.rank).collect());
        }
    }
}

/// What of `ranks` goes for `missing` bytes: the lowest, as long as they are below the newcomer.
fn going(ranks: &[(Rank, usize)], mut missing: usize, newcomer: Rank) -> Option<Vec<Rank>> {
    let mut ranks = ranks.to_vec();
    ranks.sort();
    let mut going = Vec::new();
    for (rank, cost) in ranks {
        if missing == 0 || rank >= newcomer {
            break;
        }
        missing = missing.saturating_sub(cost);
        going.push(rank);
    }
    (missing == 0).then_some(going)
}

/// What an insertion should leave, or why it should not be.
fn model(before: &Snapshot, newcomer: Rank, cost: usize, sponsor: Option<Prefix>) -> Result<Snapshot, Refused> {
    let mut accounts = before.accounts.clone();
    if let Some(sponsor) = sponsor {
        let of_sponsor = accounts.iter().filter(|(_, _, sponsors)| sponsors.contains(&sponsor));
        let of_sponsor: Vec<_> = of_sponsor.map(|(rank, cost, _)| (*rank, *cost)).collect();
        let used: usize = of_sponsor.iter().map(|(_, cost)| cost).sum();
        let dropped = going(&of_sponsor, (used + cost).saturating_sub(SHARE), newcomer).ok_or(Refused::Quota)?;
        for (rank, _, sponsors) in &mut accounts {
            if dropped.contains(rank) {
                sponsors.retain(|other| *other != sponsor);
            }
        }
        accounts.retain(|(rank, _, sponsors)| !(dropped.contains(rank) && sponsors.is_empty()));
    }
    let used: usize = accounts.iter().map(|(_, cost, _)| cost).sum();
    let all: Vec<_> = accounts.iter().map(|(rank, cost, _)| (*rank, *cost)).collect();
    let evicted = going(&all, (used + cost).saturating_sub(MAX), newcomer).ok_or(Refused::Full)?;
    accounts.retain(|(rank, ..)| !evicted.contains(rank));
    accounts.push((newcomer, cost, sponsor.into_iter().collect()));
    Ok(Snapshot { bytes: accounts.iter().map(|(_, cost, _)| cost).sum(), accounts })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_its_model_does(
        ops in prop::collection::vec((0u8..10, any::<u8>(), 0u64..50, 0usize..50, 0u8..6, any::<prop::sample::Index>()), 1..80)
    ) {
        let local = Key::from_bytes([0; 32]);
        let mut ledger = Ledger::new(local, MAX, SHARE);
        let mut now = start();
        for (op, position, time, cost, n, which) in ops {
            let slots: Vec<_> = ledger.accounts.keys().copied().collect();
            let slot = (!slots.is_empty()).then(|| slots[which.index(slots.len())]);
            let expires = now + Duration::from_secs(time);
            let before = ledger.snapshot();
            match (op, slot) {
                (0..=4, _) => {
                    let mut bytes = [0; 32];
                    bytes[0] = position;
                    let item = Item::Value(Key::from_bytes(bytes));
                    let closeness = local.common_prefix_len(item.key());
                    let newcomer = Rank { closeness, expires, slot: Slot(ledger.next_slot) };
                    let expected = model(&before, newcomer, cost, prefix(n));
                    match ledger.insert(item, expires, cost, prefix(n)) {
                        Ok((slot, gone)) => {
                            prop_assert_eq!(slot, newcomer.slot);
                            prop_assert_eq!(before.accounts.len() + 1 - gone.len(), ledger.accounts.len());
                            prop_assert_eq!(Ok(ledger.snapshot()), expected);
                        }
                        Err(refused) => {
                            prop_assert_eq!(Err(refused), expected);
                            prop_assert_eq!(&ledger.snapshot(), &before);
                        }
                    }
                }
                (5, Some(slot)) => {
                    let account = ledger.take(slot);
                    ledger.check();
                    ledger.restore(account);
                    prop_assert_eq!(ledger.snapshot(), before);
                }
                (6, Some(slot)) => {
                    ledger.discard(slot);
                    prop_assert_eq!(ledger.expires(slot), None);
                }
                (7, Some(slot)) => {
                    ledger.extend(slot, expires);
                    prop_assert!(ledger.expires(slot) >= Some(expires));
                }
                (8, Some(slot)) => {
                    ledger.sponsor(slot, prefix(n));
                    prop_assert_eq!(ledger.snapshot().bytes, before.bytes, "nothing goes for it");
                }
                _ => {
                    now += Duration::from_secs(time / 4);
                    ledger.expire(now);
                    prop_assert!(ledger.next_expiry().is_none_or(|next| next > now));
                    let live = before.accounts.iter().filter(|(rank, ..)| rank.expires > now).count();
                    prop_assert_eq!(ledger.accounts.len(), live);
                }
            }
            ledger.check();
        }
    }
}

fn item(n: u8) -> Item {
    Item::Value(Key::from_bytes([n; 32]))
}

#[test]
fn the_farthest_goes_first_and_then_what_expires_soonest() {
    let (now, mut ledger) = (start(), Ledger::new(Key::from_bytes([0; 32]), 30, 30));
    let after = |secs| now + Duration::from_secs(secs);
    // Positions 0x80.. share no bit with our own, 0x40.. one, 0x01.. seven.
    for (position, expires) in [(0x80, 9), (0x81, 5), (0x40, 1)] {
        ledger.insert(item(position), after(expires), 10, None).unwrap();
    }
    let mut insert = |position, expires| ledger.insert(item(position), after(expires), 10, None).map(|(_, gone)| gone);
    assert_eq!(insert(0x90, 4), Err(Refused::Full), "it would be the first to go");
    assert_eq!(insert(0x90, 6), Ok(vec![item(0x81)]));
    assert_eq!(insert(0x01, 1), Ok(vec![item(0x90)]));
    assert_eq!(insert(0x01, 1), Ok(vec![item(0x80)]));
    assert_eq!(insert(0x01, 1), Ok(vec![item(0x40)]));
}

#[test]
fn a_record_stays_while_somebody_vouches_for_it() {
    let (now, mut ledger) = (start(), Ledger::new(Key::from_bytes([0; 32]), MAX, SHARE));
    let (honest, crowd) = (prefix(1), prefix(2));
    let (slot, _) = ledger.insert(item(0x80), now, 10, crowd).unwrap();
    ledger.sponsor(slot, honest);
    assert_eq!([honest, crowd].map(|p| p.map(|p| ledger.bytes_of(&p))), [Some(10); 2]);
    // The closest of them are in before those that are refused.
    let stored = (1..100).filter(|n| ledger.insert(item(*n), now, 10, crowd).is_ok()).count();
    assert!(stored >= 4, "its share was filled");
    assert!(ledger.expires(slot).is_some(), "the crowd filled its share and could only take back its own word");
    assert_eq!(ledger.shares[&prefix(1).unwrap()].bytes, 10);

    // Where as many vouch as may, a fuller one is replaced by a less full one, and never the other way round.
    let (slot, _) = ledger.insert(item(0xff), now, 1, prefix(3)).unwrap();
    (4..=7).for_each(|n| {
        ledger.insert(item(n), now, usize::from(n), prefix(n)).unwrap();
    });
    [4, 5, 7, 6].into_iter().for_each(|n| ledger.sponsor(slot, prefix(n)));
    let sponsors: BTreeSet<_> = ledger.accounts[&slot].sponsors.iter().copied().collect();
    assert_eq!(sponsors, (3..=6).filter_map(prefix).collect());
    ledger.sponsor(slot, prefix(7));
    assert_eq!(sponsors, ledger.accounts[&slot].sponsors.iter().copied().collect());

    // But who was first stays, however full.
    let (slot, _) = ledger.insert(item(0xfe), now, 1, prefix(7)).unwrap();
    (3..=6).for_each(|n| ledger.sponsor(slot, prefix(n)));
    let sponsors: BTreeSet<_> = ledger.accounts[&slot].sponsors.iter().copied().collect();
    assert_eq!(sponsors, [3, 4, 5, 7].into_iter().filter_map(prefix).collect());
}

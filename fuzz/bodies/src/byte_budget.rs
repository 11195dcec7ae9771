//! The byte budget: what is held adds up and never exceeds the limit.

use p2p_core::{ByteBudget, Reservation};

use crate::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = if input.flag() { input.any::<u16>().into() } else { input.any::<usize>() };
    let budget = ByteBudget::new(limit);
    let mut held: Vec<Reservation> = Vec::new();
    while !input.is_empty() {
        let (what, which) = (input.below(6), input.byte());
        let bytes = if input.flag() { input.any::<u16>().into() } else { input.any::<usize>() };
        let used: usize = held.iter().map(Reservation::bytes).sum();
        assert_eq!(budget.used(), used);
        assert!(used <= limit);
        let fits = used.checked_add(bytes).is_some_and(|sum| sum <= limit);
        if what == 0 {
            let reserved = budget.try_reserve(bytes);
            assert_eq!(reserved.as_ref().map(Reservation::bytes), fits.then_some(bytes));
            held.extend(reserved);
            continue;
        }
        if held.is_empty() {
            continue;
        }
        let at = usize::from(which) % held.len();
        match what {
            1 => assert_eq!(held[at].try_grow(bytes), fits),
            2 => held[at].shrink(bytes),
            3 => drop(held.swap_remove(at)),
            4 => {
                let taken = held.swap_remove(at);
                if let Some(last) = held.last_mut() {
                    last.merge(taken);
                }
            }
            _ => held.clear(),
        }
    }
    drop(held);
    assert_eq!(budget.used(), 0, "all of it came back");
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![[1, 0, 4].into_iter().chain((0..60).map(|n: u8| n.wrapping_mul(73))).collect()]
}

//! The contacts closest to a position, in order, without allocation.

use std::fmt;

use super::Table;
use super::bucket::Bucket;
use super::config::MAX_K;
use super::entry::Entry;
use super::words::Words;
use crate::{Contact, Key};

/// How many members are ranked together.
const LANES: usize = 8;

/// The contacts of a table that are closest to a target, nearest first. Made by [`Table::closest`].
///
/// Buckets have an order by distance of their own: with d the distance between target and table, first those whose bit is set
/// in d, from the most significant on; then the others, from the least significant on. So it sorts one bucket at a time,
/// when it gets there, and mostly the first one is enough.
#[derive(Clone)]
pub struct Closest<'a, C> {
    buckets: &'a [Bucket<C>],
    target: Words,
    left: usize,
    nearer: Words,
    farther: Words,
    members: &'a [Entry<C>],
    order: [u8; MAX_K],
    at: usize,
}

impl<'a, C: Contact> Closest<'a, C> {
    #[inline]
    pub(super) fn new(table: &'a Table<C>, target: &Key, count: usize) -> Self {
        let target = Words::of_key(target);
        let distance = table.local.zip(target, |a, b| a ^ b);
        Self {
            buckets: &table.buckets,
            target,
            left: count.min(table.len),
            nearer: table.occupied.zip(distance, |a, b| a & b),
            farther: table.occupied.zip(distance, |a, b| a & !b),
            members: &[],
            order: [0; MAX_K],
            at: 0,
        }
    }

    /// Sorts the next bucket.
    #[inline]
    fn advance(&mut self) -> Option<()> {
        let index = if let Some(index) = self.nearer.first() {
            self.nearer.set(index, false);
            index
        } else {
            let index = self.farther.last()?;
            self.farther.set(index, false);
            index
        };
        let bucket = &self.buckets[index];
        self.members = bucket.members();
        self.at = 0;
        if let Some(order) = by_tail(bucket.tails(), self.members.len(), bucket.tail(&self.target)) {
            self.order = order;
        } else {
            self.order = by_key(self.members, &self.target.to_key());
        }
        Some(())
    }
}

impl<'a, C: Contact> Iterator for Closest<'a, C> {
    type Item = &'a C;

    #[inline]
    fn next(&mut self) -> Option<&'a C> {
        self.left = self.left.checked_sub(1)?;
        while self.at == self.members.len() {
            self.advance()?;
        }
        let entry = &self.members[usize::from(self.order[self.at % MAX_K])];
        self.at += 1;
        Some(&entry.contact)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<C: Contact> ExactSizeIterator for Closest<'_, C> {}

impl<C: Contact> std::iter::FusedIterator for Closest<'_, C> {}

impl<C> fmt::Debug for Closest<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closest").field("left", &self.left).finish_non_exhaustive()
    }
}

/// The order of a bucket's members by what tells them apart; `None` if two have the same.
///
/// Each is put at the place that is the number of closer ones. That has no branch that could be guessed wrong, and
/// the compiler compares several at a time.
#[inline]
fn by_tail(tails: &[u32; MAX_K], len: usize, target: u32) -> Option<[u8; MAX_K]> {
    // With the sign turned over, so that signed comparisons, which every processor can do many at a time, sort rightly.
    let distances = tails.map(|tail| (tail ^ target ^ 1 << 31) as i32);
    let mut order = [0; MAX_K];
    let mut sum = 0;
    for (block, own) in distances.as_chunks::<LANES>().0.iter().take(len.div_ceil(LANES)).enumerate() {
        let mut ranks = [0u32; LANES];
        for other in &distances[..len] {
            ranks.iter_mut().zip(own).for_each(|(rank, own)| *rank += u32::from(other < own));
        }
        for (at, rank) in (block * LANES..len).zip(ranks) {
            order[rank as usize % MAX_K] = at as u8;
            sum += rank as usize;
        }
    }
    // Of two that are equal neither counts for the other.
    (sum == len * len.saturating_sub(1) / 2).then_some(order)
}

/// The order of a bucket's members by their whole keys.
#[cold]
fn by_key<C: Contact>(members: &[Entry<C>], target: &Key) -> [u8; MAX_K] {
    let mut order = std::array::from_fn(|at| at as u8);
    order[..members.len()].sort_unstable_by_key(|at| members[usize::from(*at)].contact.key().distance(target));
    order
}

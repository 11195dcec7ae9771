//! How many nodes a network has, from how close the closest ones are.

use std::collections::VecDeque;

use crate::{Distance, Key};

/// The most samples that count; the oldest is evicted.
pub const MAX_SAMPLES: usize = 64;

/// Of the standard normal distribution, so that 95 % are within.
const WITHIN_95: f64 = 1.96;

/// Samples that are further from the median than this many standard deviations are left out: one in 100,000 honest ones.
const OUTLIER: f64 = 4.5;

/// What chance must have produced less often than this is not chance.
const IMPLAUSIBLE: f64 = 1e-5;

/// How many nodes there are, ourselves not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The best guess.
    pub nodes: f64,
    /// The number is between this...
    pub low: f64,
    /// ...and this in 95 of 100 cases, if keys are spread evenly.
    pub high: f64,
}

/// Estimates the size of a network from finished lookups.
///
/// Keys are hashes, so N nodes are spread like N random points. Then N times the distance of the k-th closest to any fixed
/// position has the gamma distribution with shape k, and of several lookups whose regions do not overlap the distances add up to
/// one with the sum of the shapes. Ids that somebody ground for a spot make that region look dense, so samples that do not go
/// with the median are left out: to mislead it, half of the samples must be poisoned.
#[derive(Debug, Clone, Default)]
pub struct SizeEstimator {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    target: Key,
    /// How many nodes were found.
    count: f64,
    /// How far the last of them is, as a fraction of the space.
    distance: f64,
}

impl SizeEstimator {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A lookup for `target` ended and found these closest nodes: all that there are up to the farthest of them, in any
    /// order. A node at the very target says nothing (somebody looked for it) and is not counted.
    ///
    /// Replaces earlier samples of the same region.
    pub fn add(&mut self, target: &Key, closest: impl IntoIterator<Item = Key>) {
        let (mut count, mut distance) = (0.0, 0.0f64);
        for key in closest.into_iter().filter(|key| key != target) {
            count += 1.0;
            distance = distance.max(target.distance(&key).fraction());
        }
        if distance == 0.0 {
            return;
        }
        let sample = Sample { target: *target, count, distance };
        self.samples.retain(|other| !other.overlaps(&sample));
        if self.samples.len() >= MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The estimate; `None` before the first lookup that found somebody.
    pub fn estimate(&self) -> Option<Estimate> {
        let median = self.median()?;
        let (mut count, mut distance) = (0.0, 0.0);
        for sample in self.samples.iter().filter(|sample| sample.deviation(median).abs() <= OUTLIER) {
            count += sample.count;
            distance += sample.distance;
        }
        let bound = |deviations| gamma_quantile(count, deviations) / distance;
        // The mean of 1/gamma is 1/(shape - 1). One node alone says at least that there is one.
        let nodes = ((count - 1.0) / distance).max(1.0);
        Some(Estimate { nodes, low: bound(-WITHIN_95).min(nodes), high: bound(WITHIN_95).max(nodes) })
    }

    /// How far the k-th closest node to a position is expected to be. The whole space if there are no more than `k` nodes;
    /// `None` before the first estimate.
    pub fn kth_distance(&self, k: usize) -> Option<Distance> {
        let fraction = k as f64 / self.estimate()?.nodes;
        if fraction >= 1.0 {
            return Some(Distance::MAX);
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&((fraction * 2f64.powi(64)) as u64).to_be_bytes());
        Some(Key::from_bytes(bytes).distance(&Key::from_bytes([0; 32])))
    }

    /// Whether these closest nodes are closer to `target` than chance puts them in a network of this size, for some
    /// number of them: then somebody ground ids for this spot. Calls honest nodes implausible less often than once in
    /// 5,000 lookups. `false` before the first estimate.
    ///
    /// Do not [`add`](Self::add) a suspect lookup before asking.
    pub fn is_too_dense(&self, target: &Key, closest: impl IntoIterator<Item = Key>) -> bool {
        let Some(estimate) = self.estimate() else { return false };
        let mut distances: Vec<_> =
            closest.into_iter().filter(|key| key != target).map(|key| target.distance(&key).fraction()).collect();
        distances.sort_unstable_by(f64::total_cmp);
        // The upper bound: in doubt the network is large, and the nodes are where they should be.
        (1u32..).zip(distances).any(|(j, distance)| poisson_tail(j, estimate.high * distance) < IMPLAUSIBLE)
    }

    fn median(&self) -> Option<f64> {
        let mut estimates: Vec<f64> = self.samples.iter().map(Sample::median).collect();
        estimates.sort_unstable_by(f64::total_cmp);
        let (low, high) = (estimates.len().checked_sub(1)? / 2, estimates.len() / 2);
        Some((estimates[low] * estimates[high]).sqrt())
    }
}

impl Sample {
    fn overlaps(&self, other: &Self) -> bool {
        self.target.distance(&other.target).fraction() <= self.distance.max(other.distance)
    }

    /// The network size of which this sample is the median. (That of a gamma distribution is about a third below its shape.)
    fn median(&self) -> f64 {
        (self.count - 1.0 / 3.0) / self.distance
    }

    /// How many standard deviations the distance is off in a network of `nodes` (Wilson and Hilferty 1931: the cube root of
    /// a gamma variable is nearly normal).
    fn deviation(&self, nodes: f64) -> f64 {
        let ninth = 1.0 / (9.0 * self.count);
        ((nodes * self.distance / self.count).cbrt() - 1.0 + ninth) / ninth.sqrt()
    }
}

/// The value that a gamma variable of this shape is below as often as a normal one is below so many deviations.
fn gamma_quantile(shape: f64, deviations: f64) -> f64 {
    let ninth = 1.0 / (9.0 * shape);
    shape * (1.0 - ninth + deviations * ninth.sqrt()).max(0.0).powi(3)
}

/// How likely a Poisson variable of this mean is at least `count`: that so many of N nodes are within the distance at
/// which `mean` are expected.
fn poisson_tail(count: u32, mean: f64) -> f64 {
    if mean >= f64::from(count) {
        // No less than about a half; below, rounding would cancel everything for large means.
        return 1.0;
    }
    // The terms from `count` on, which shrink at least geometrically.
    let first = (1..=count).fold((-mean).exp(), |term, n| term * mean / f64::from(n));
    let mut tail = 0.0;
    let mut term = first;
    for n in count + 1.. {
        tail += term;
        term *= mean / f64::from(n);
        if term <= tail * f64::EPSILON {
            break;
        }
    }
    tail
}

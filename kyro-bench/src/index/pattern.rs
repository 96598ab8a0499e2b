//! How lookups follow each other, and the loops that time them.
//!
//! *Serial*: the key of each lookup depends on the answer before, so that one ends before the next begins: latency.
//! *Independent*: the processor may start the next while one waits: throughput. *Batch*: 32 keys handed over at once.
//!
//! The loops are generic, so that a lookup is compiled into its loop and no contender pays for a call through a table.
//! Their sums of answers are compared with the right ones after every run: what is timed is also right.
#![expect(clippy::inline_always, reason = "a call in a timed loop would be timed too")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::index::lookups::Part;
use crate::store::Store;

/// Keys handed over at once.
pub(super) const BATCH: usize = 32;

/// One way of looking up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Keys that are there, each lookup waiting for the one before.
    HitSerial,
    /// Keys that are there, independent of each other.
    HitIndependent,
    /// Keys that are there, 32 at a time.
    HitBatch,
    /// Keys that are not there, each lookup waiting for the one before: for its lower bound, for "not found" is no data to
    /// wait for (the processor guesses it and goes on). So stores that know no order have no figure here.
    MissSerial,
    /// Keys that are not there, independent of each other.
    MissIndependent,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::HitSerial, Self::HitIndependent, Self::HitBatch, Self::MissSerial, Self::MissIndependent];

    /// What a table of it is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::HitSerial => "hits, serial",
            Self::HitIndependent => "hits, independent",
            Self::HitBatch => "hits, batches of 32",
            Self::MissSerial => "misses, serial",
            Self::MissIndependent => "misses, independent",
        }
    }

    /// True when only a store that knows an order can take part.
    pub fn needs_order(self) -> bool {
        self == Self::MissSerial
    }

    /// The pattern of the floor that this one is compared with: the floor has no batches.
    #[must_use]
    pub fn floor(self) -> Self {
        if self == Self::HitBatch { Self::HitIndependent } else { self }
    }
}

/// The sum of answers when a key is not found.
const ABSENT: u64 = u64::MAX;

/// What a timed run took and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timed {
    /// How long all lookups took.
    pub(super) elapsed: Duration,
    /// The wrapping sum of their answers.
    pub(super) sum: u64,
    /// The sum of the right ones.
    pub(super) expected: u64,
}

/// Times `store` once.
#[inline(never)]
pub(super) fn time<S: Store>(store: &S, pattern: Pattern, lookups: Part<'_>) -> Timed {
    // A zero that the compiler does not know to be one: `last & zero` makes the next key wait for the last answer.
    let zero = black_box(0);
    let started = Instant::now();
    let sum = match pattern {
        Pattern::HitSerial => serial(lookups.hits, zero, |key| answer(store.find(key))),
        Pattern::HitIndependent => independent(lookups.hits, |key| answer(store.find(key))),
        Pattern::HitBatch => {
            let mut found = [None; BATCH];
            lookups.hits.chunks(BATCH).fold(0, |sum: u64, keys| {
                let found = &mut found[..keys.len()];
                store.find_batch(keys, found);
                found.iter().fold(sum, |sum, &found| sum.wrapping_add(answer(found)))
            })
        }
        Pattern::MissSerial => serial(lookups.misses, zero, |key| answer(store.lower_bound(key))),
        Pattern::MissIndependent => independent(lookups.misses, |key| answer(store.find(key))),
    };
    let elapsed = started.elapsed();
    let expected = match pattern {
        Pattern::HitSerial | Pattern::HitIndependent | Pattern::HitBatch => sum_of(lookups.positions),
        Pattern::MissSerial => sum_of(lookups.places),
        Pattern::MissIndependent => ABSENT.wrapping_mul(lookups.misses.len() as u64),
    };
    Timed { elapsed, sum, expected }
}

/// Times the floor once: the position is known, and one key is read at it. No index can do with less.
#[inline(never)]
pub(super) fn time_floor(keys: &[u64], pattern: Pattern, lookups: Part<'_>) -> Timed {
    let positions = match pattern {
        Pattern::HitSerial | Pattern::HitIndependent | Pattern::HitBatch => lookups.positions,
        Pattern::MissSerial | Pattern::MissIndependent => lookups.places,
    };
    // Behind the last key there is nothing to read.
    let at = |position: usize| keys[position.min(keys.len() - 1)];
    let zero = black_box(0);
    let started = Instant::now();
    let sum = match pattern {
        Pattern::HitSerial | Pattern::MissSerial => {
            let mut last = 0;
            positions.iter().fold(0, |sum: u64, &position| {
                last = at(position ^ (last & zero) as usize);
                sum.wrapping_add(last)
            })
        }
        _ => positions.iter().fold(0, |sum: u64, &position| sum.wrapping_add(at(position))),
    };
    let elapsed = started.elapsed();
    let expected = positions.iter().fold(0, |sum: u64, &position| sum.wrapping_add(at(position)));
    Timed { elapsed, sum, expected }
}

#[inline(always)]
fn serial(keys: &[u64], zero: u64, look_up: impl Fn(u64) -> u64) -> u64 {
    let mut last = 0;
    keys.iter().fold(0, |sum: u64, &key| {
        last = look_up(key ^ (last & zero));
        sum.wrapping_add(last)
    })
}

#[inline(always)]
fn independent(keys: &[u64], look_up: impl Fn(u64) -> u64) -> u64 {
    keys.iter().fold(0, |sum: u64, &key| sum.wrapping_add(look_up(key)))
}

#[inline(always)]
fn answer(found: Option<usize>) -> u64 {
    found.map_or(ABSENT, |position| position as u64)
}

fn sum_of(positions: &[usize]) -> u64 {
    positions.iter().fold(0, |sum, &position| sum.wrapping_add(position as u64))
}

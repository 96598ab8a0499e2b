//! Reads of a store, as tasks that are timed from end to end.
//!
//! A task is run by a loop that is generic over the store's reader, so that a get is compiled into the loop and nobody
//! pays for a call through a table. Each task gives the sum of what it read: the caller knows the right one.
#![expect(clippy::inline_always, reason = "a call in a timed loop would be timed too")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::kv::Failure;

/// Something to read.
#[derive(Debug)]
pub enum Task<'a> {
    /// Gets of these keys, each key made to wait for the value before: latency.
    GetSerial(&'a [u64]),
    /// Gets of these keys, as fast as a loop can call: the processor may start the next while one waits.
    Get(&'a [u64]),
    /// Gets of these keys, handed over so many at once.
    GetMany {
        /// The keys.
        keys: &'a [u64],
        /// Keys at once.
        at_once: usize,
    },
    /// Gets of these keys, independent, with the nanoseconds of each.
    GetTimed(&'a [u64], &'a mut Histogram<u64>),
    /// From each of these keys on, so many entries in key order.
    Scan {
        /// Where each scan starts.
        from: &'a [u64],
        /// Entries of each, at most.
        entries: usize,
    },
    /// Every entry in key order.
    ScanAll,
}

/// What a task took and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How long it all took.
    pub elapsed: Duration,
    /// Entries found.
    pub found: u64,
    /// The wrapping sum of the first eight bytes of their values, and of a scan also of their keys.
    pub sum: u64,
}

impl Answer {
    /// Nanoseconds of one of `count` steps.
    pub fn nanos_each(&self, count: usize) -> f64 {
        self.elapsed.as_nanos() as f64 / count.max(1) as f64
    }
}

/// One thread's way into a store, with whatever a store wants opened once for many reads.
pub(crate) trait Reader {
    /// The first eight bytes of the value of `key`.
    fn get(&self, key: u64) -> Result<Option<u64>, Failure>;

    /// Hands over the first eight bytes of the value of each key; one by one, of a store that has no other way.
    fn get_many(&self, keys: &[u64], each: &mut impl FnMut(Option<u64>)) -> Result<(), Failure> {
        for &key in keys {
            each(self.get(key)?);
        }
        Ok(())
    }

    /// Hands over the entries from `from` on in key order, `limit` at most.
    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure>;
}

/// The first eight bytes of a value; of a shorter one, what there is.
#[inline(always)]
pub fn first_word(value: &[u8]) -> u64 {
    match value.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => value.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Runs `task` and times it.
pub(crate) fn run<R: Reader>(reader: &R, task: &mut Task<'_>) -> Result<Answer, Failure> {
    // A zero that the compiler does not know to be one: `last & zero` makes the next key wait for the last answer.
    let zero = black_box(0);
    let mut answer = Answer::default();
    let started = Instant::now();
    match task {
        Task::GetSerial(keys) => {
            let mut last = 0;
            for &key in *keys {
                if let Some(word) = reader.get(key ^ (last & zero))? {
                    last = word;
                    answer.note(word);
                }
            }
        }
        Task::Get(keys) => {
            for &key in *keys {
                if let Some(word) = reader.get(key)? {
                    answer.note(word);
                }
            }
        }
        Task::GetMany { keys, at_once } => {
            for keys in keys.chunks(*at_once) {
                reader.get_many(keys, &mut |word| {
                    if let Some(word) = word {
                        answer.note(word);
                    }
                })?;
            }
        }
        Task::GetTimed(keys, histogram) => {
            let mut before = started;
            for &key in *keys {
                let found = reader.get(key)?;
                let now = Instant::now();
                histogram.saturating_record(u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX));
                before = now;
                if let Some(word) = found {
                    answer.note(word);
                }
            }
        }
        Task::Scan { from, entries } => {
            for &from in *from {
                reader.scan(from, *entries, &mut |key, value| answer.note_entry(key, value))?;
            }
        }
        Task::ScanAll => reader.scan(0, usize::MAX, &mut |key, value| answer.note_entry(key, value))?,
    }
    answer.elapsed = started.elapsed();
    Ok(answer)
}

impl Answer {
    #[inline(always)]
    fn note(&mut self, word: u64) {
        self.found += 1;
        self.sum = self.sum.wrapping_add(word);
    }

    #[inline(always)]
    fn note_entry(&mut self, key: u64, value: &[u8]) {
        self.note(key.wrapping_add(first_word(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys 0, 10, 20, … with values that hold the key and its double.
    struct Tens;

    impl Reader for Tens {
        fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
            Ok(key.is_multiple_of(10).then_some(key))
        }

        fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
            for key in (from.next_multiple_of(10)..=100).step_by(10).take(limit) {
                each(key, &[key.to_le_bytes(), (2 * key).to_le_bytes()].concat());
            }
            Ok(())
        }
    }

    #[test]
    fn tasks_sum_what_they_read() {
        let run = |mut task: Task<'_>| {
            let answer = run(&Tens, &mut task).unwrap();
            (answer.found, answer.sum)
        };
        let keys = [10, 11, 30];
        assert_eq!(run(Task::GetSerial(&keys)), (2, 40));
        assert_eq!(run(Task::Get(&keys)), (2, 40));
        assert_eq!(run(Task::GetMany { keys: &keys, at_once: 2 }), (2, 40));
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(run(Task::GetTimed(&keys, &mut histogram)), (2, 40));
        assert_eq!(histogram.len(), 3);
        assert_eq!(run(Task::Scan { from: &[5, 95], entries: 2 }), (3, 2 * (10 + 20 + 100)));
        assert_eq!(run(Task::ScanAll), (11, 2 * 550));
    }

    #[test]
    fn short_values_have_words() {
        assert_eq!(first_word(&[1, 2]), 0x0201);
        assert_eq!(first_word(&[1, 0, 0, 0, 0, 0, 0, 1, 9]), 0x0100_0000_0000_0001);
        assert_eq!(first_word(&[]), 0);
    }
}

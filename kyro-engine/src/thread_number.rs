//! A small number for each thread, so that what a thread writes often can be its own: no other thread that lives has
//! the same. Numbers of threads that have ended are given again.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads with a number at one time. Those beyond have none and share what others have of their own.
pub(crate) const NUMBERS: usize = 128;

/// What a thread without a number gets: beyond every number.
const NONE: usize = usize::MAX;
const UNASKED: usize = usize::MAX - 1;

/// A bit for each number that a thread has.
static TAKEN: [AtomicU64; NUMBERS / 64] = [const { AtomicU64::new(0) }; NUMBERS / 64];

thread_local! {
    /// Without a destructor, so that it can be asked until the very end of the thread.
    static NUMBER: Cell<usize> = const { Cell::new(UNASKED) };
    static CLAIM: Cell<Option<Claim>> = const { Cell::new(None) };
}

/// The number of this thread; [`NUMBERS`] or more where it has none. Costs one load.
#[inline]
pub(crate) fn get() -> usize {
    let number = NUMBER.get();
    if number == UNASKED { ask() } else { number }
}

#[cold]
fn ask() -> usize {
    let claim = Claim::take();
    let number = claim.as_ref().map_or(NONE, |claim| claim.number);
    NUMBER.set(number);
    // A thread that is already ending gives the number back here, and `Claim::drop` forgets it.
    CLAIM.try_with(|kept| kept.set(claim)).ok();
    NUMBER.get()
}

/// A number for as long as it is held.
#[derive(Debug)]
struct Claim {
    number: usize,
}

impl Claim {
    fn take() -> Option<Self> {
        for (index, word) in TAKEN.iter().enumerate() {
            let mut taken = word.load(Ordering::Relaxed);
            while taken != u64::MAX {
                let free = taken.trailing_ones();
                // Acquire: what the thread before wrote under this number is seen.
                let before = word.fetch_or(1 << free, Ordering::AcqRel);
                if before & (1 << free) == 0 {
                    return Some(Self { number: index * 64 + free as usize });
                }
                taken = before;
            }
        }
        None
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Destructors of other thread-locals may still read and count: from here on without a number.
        NUMBER.set(NONE);
        TAKEN[self.number / 64].fetch_and(!(1 << (self.number % 64)), Ordering::Release);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

    use super::*;

    /// Held by tests that take all numbers: no two at a time, so that each gets most of them.
    pub(crate) fn take_all() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn living_threads_have_different_numbers_and_dead_ones_give_theirs_back() {
        let _numbers = take_all();
        for _ in 0..3 {
            let (numbers, barrier) = (Mutex::new(Vec::new()), Barrier::new(NUMBERS + 20));
            std::thread::scope(|scope| {
                for _ in 0..NUMBERS + 20 {
                    scope.spawn(|| {
                        let number = get();
                        assert_eq!(get(), number);
                        numbers.lock().unwrap().push(number);
                        barrier.wait();
                    });
                }
            });
            let numbers = numbers.into_inner().unwrap();
            let own: Vec<_> = numbers.iter().filter(|number| **number < NUMBERS).collect();
            assert_eq!(own.len(), own.iter().collect::<BTreeSet<_>>().len(), "a number twice at a time");
            // Other tests of this process may hold some of them.
            assert!((1..=NUMBERS).contains(&own.len()), "{} numbers", own.len());
        }
    }

    #[test]
    fn a_thread_that_is_ending_has_no_number_any_more() {
        struct AsksAtTheEnd;
        impl Drop for AsksAtTheEnd {
            fn drop(&mut self) {
                ASKED.store(get() as u64, Ordering::Relaxed);
            }
        }
        static ASKED: AtomicU64 = AtomicU64::new(0);
        thread_local! { static LAST: Cell<Option<AsksAtTheEnd>> = const { Cell::new(None) }; }
        let thread = std::thread::spawn(|| {
            // What was used first is dropped last: the number is given back before `LAST` asks.
            LAST.set(Some(AsksAtTheEnd));
            get()
        });
        thread.join().unwrap();
        assert_eq!(ASKED.load(Ordering::Relaxed), NONE as u64);
    }
}

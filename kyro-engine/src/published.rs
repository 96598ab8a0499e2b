//! A value that is replaced now and then and read all the time: reading it waits for nobody, writes nothing that
//! another thread writes, and needs no locked instruction or fence, which would keep reads that follow each other from
//! overlapping in the processor.
//!
//! A reader notes in a place of its own which value it reads (a hazard pointer), looks whether that is still the current
//! one, reads, and clears the note. Whoever replaces the value keeps the old one until no note names it:
//!
//! | the reader | whoever replaces |
//! |---|---|
//! | writes its note | makes the new value current |
//! | light barrier | heavy barrier |
//! | looks whether the value is current | looks at the notes |
//!
//! At least one of the two sees what the other wrote, if a barrier on either side keeps the order. On Linux the heavy
//! one is the system call `membarrier`, which runs a barrier on every processor that runs a thread of this process, and
//! the light one only stops the compiler; where there is no such call both are fences.
//!
//! An old value goes when the last reader of it has left: the reader sees at the end that it read an old one, says so,
//! and whoever hears of it calls [`Published::release`]. Nothing stays in idle threads.
#![expect(unsafe_code, reason = "a reader follows a pointer that its note keeps valid")]

use std::ptr;
use std::sync::{Arc, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};
use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::thread_number::{self, NUMBERS};

/// See the module.
#[derive(Debug)]
pub(crate) struct Published<T> {
    /// Owns the current value.
    owner: ArcSwap<T>,
    /// Points to what `owner` has, or for a moment to the value before, which then is in `retired`.
    current: CachePadded<AtomicPtr<T>>,
    /// By thread number: what the thread reads, or null.
    notes: Box<[CachePadded<AtomicPtr<T>>]>,
    /// Held by whoever replaces; values that were replaced and may still be read.
    retired: Mutex<Vec<Arc<T>>>,
    barriers: Barriers,
}

impl<T> Published<T> {
    pub(crate) fn new(first: T) -> Self {
        Self::with_readers(first, NUMBERS)
    }

    /// With places for this many threads.
    fn with_readers(first: T, readers: usize) -> Self {
        let first = Arc::new(first);
        Self {
            current: CachePadded::new(AtomicPtr::new(Arc::as_ptr(&first).cast_mut())),
            owner: ArcSwap::new(first),
            notes: (0..readers).map(|_| CachePadded::new(AtomicPtr::new(ptr::null_mut()))).collect(),
            retired: Mutex::default(),
            barriers: Barriers::of_this_process(),
        }
    }

    /// Runs `read` on the current value; then `was_old` if it has been replaced meanwhile: the reader may have been the
    /// last of an old value, and [`Published::release`] is due. Costs a few loads and stores in lines that the thread has
    /// to itself.
    #[inline]
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R, was_old: impl FnOnce()) -> R {
        self.read_as(thread_number::get(), read, was_old)
    }

    /// As [`Published::read`], by the thread with this number: no other thread may have it meanwhile.
    #[inline]
    fn read_as<R>(&self, number: usize, read: impl FnOnce(&T) -> R, was_old: impl FnOnce()) -> R {
        let note = match self.notes.get(number) {
            Some(note) if note.load(Ordering::Relaxed).is_null() => note,
            // A thread has one note. A read in a read, and one by a thread without a number, counts a reference.
            _ => return self.read_counted(read),
        };
        let mut value = self.current.load(Ordering::Relaxed);
        // Whoever looks at the notes between two turns keeps a value that is not read at all.
        let mut retried = false;
        loop {
            note.store(value, Ordering::Relaxed);
            self.barriers.light();
            // Acquire: what was written before the value was published is seen.
            let current = self.current.load(Ordering::Acquire);
            if current == value {
                break;
            }
            value = current;
            retried = true;
        }
        let _noted = Noted { published: self, note, value, retried, was_old: Some(was_old) };
        // SAFETY: `value` came from an `Arc` in `owner` or `retired` and was current after it had been noted. Whoever
        // replaced it since sees the note (see the module) and keeps the `Arc` until `_noted` clears the note.
        read(unsafe { &*value })
    }

    #[cold]
    #[inline(never)]
    fn read_counted<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.load())
    }

    /// The current value, for a short time.
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.owner.load()
    }

    /// The current value, to keep.
    pub(crate) fn pin(&self) -> Arc<T> {
        self.owner.load_full()
    }

    /// Publishes what `change` makes of the current value.
    pub(crate) fn replace(&self, change: impl FnOnce(&T) -> T) {
        let mut retired = self.retired();
        let next = Arc::new(change(&self.owner.load()));
        let next_pointer = Arc::as_ptr(&next).cast_mut();
        // Before it can be seen that the old value is not current any more, it is kept.
        retired.push(self.owner.swap(next));
        self.current.store(next_pointer, Ordering::Release);
        self.settle(retired);
    }

    /// Lets old values go that nobody reads any more. Cheap where there are none.
    pub(crate) fn release(&self) {
        let retired = self.retired();
        if !retired.is_empty() {
            self.settle(retired);
        }
    }

    /// Old values that wait for their readers.
    #[cfg(test)]
    pub(crate) fn retired_values(&self) -> usize {
        self.retired().len()
    }

    fn settle(&self, mut retired: MutexGuard<'_, Vec<Arc<T>>>) {
        self.barriers.heavy();
        let free: Vec<_> = retired.extract_if(.., |old| !self.is_noted(old)).collect();
        drop(retired);
        // Unmapping files takes time: nobody waits for it.
        drop(free);
    }

    fn is_noted(&self, value: &Arc<T>) -> bool {
        // Acquire: what the reader did is over when its note is gone.
        self.notes.iter().any(|note| ptr::eq(note.load(Ordering::Acquire), Arc::as_ptr(value)))
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<T>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears a note, also where the reader panics. What was read is not moved through it: a value that is written in parts
/// and copied as a whole at once would make the processor wait.
struct Noted<'a, T, F: FnOnce()> {
    published: &'a Published<T>,
    note: &'a AtomicPtr<T>,
    value: *mut T,
    /// Whether the note named an older value first.
    retried: bool,
    was_old: Option<F>,
}

impl<T, F: FnOnce()> Drop for Noted<'_, T, F> {
    #[inline]
    fn drop(&mut self) {
        // Release: all that was read was read before.
        self.note.store(ptr::null_mut(), Ordering::Release);
        // As at the beginning: either this sees that the value was replaced, or whoever replaced it sees no note.
        self.published.barriers.light();
        let is_old = self.retried || self.published.current.load(Ordering::Relaxed) != self.value;
        if is_old && let Some(was_old) = self.was_old.take() {
            was_old();
        }
    }
}

/// How the order of the module's table is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barriers {
    /// By the system call.
    Asymmetric,
    /// By fences on both sides.
    Fences,
}

impl Barriers {
    fn of_this_process() -> Self {
        static BARRIERS: OnceLock<Barriers> = OnceLock::new();
        *BARRIERS.get_or_init(|| if asymmetric::register() { Self::Asymmetric } else { Self::Fences })
    }

    #[inline]
    fn light(self) {
        match self {
            Self::Asymmetric => std::sync::atomic::compiler_fence(Ordering::SeqCst),
            Self::Fences => std::sync::atomic::fence(Ordering::SeqCst),
        }
    }

    fn heavy(self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self == Self::Asymmetric {
            asymmetric::barrier();
        }
    }
}

/// The scheduler of the tests runs one thread at a time and orders everything.
#[cfg(all(target_os = "linux", not(shuttle)))]
mod asymmetric {
    use rustix::thread::{MembarrierCommand, membarrier};

    /// Whether the system call is there.
    pub(super) fn register() -> bool {
        membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
            && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }

    pub(super) fn barrier() {
        while membarrier(MembarrierCommand::PrivateExpedited).is_err() {
            // It cannot fail once it has been registered; a value must not go without it.
            std::thread::yield_now();
        }
    }
}

#[cfg(not(all(target_os = "linux", not(shuttle))))]
mod asymmetric {
    pub(super) fn register() -> bool {
        cfg!(shuttle)
    }

    pub(super) fn barrier() {}
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A value that knows whether it is gone, and has two halves that must agree.
    #[derive(Debug)]
    pub(crate) struct Watched {
        pub(crate) number: u64,
        pub(crate) complement: u64,
        gone: Arc<AtomicBool>,
    }

    impl Watched {
        pub(crate) fn new(number: u64) -> Self {
            Self { number, complement: !number, gone: Arc::default() }
        }

        /// Set when the value is dropped.
        #[cfg(shuttle)]
        pub(crate) fn gone(&self) -> Arc<AtomicBool> {
            Arc::clone(&self.gone)
        }

        pub(crate) fn check(&self) -> u64 {
            assert!(!self.gone.load(Ordering::SeqCst), "read after it was dropped");
            assert_eq!(self.number, !self.complement);
            self.number
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.gone.store(true, Ordering::SeqCst);
            self.complement = self.number;
        }
    }

    #[cfg(shuttle)]
    impl<T> Published<T> {
        /// For schedules: few places, and threads say their number.
        pub(crate) fn for_schedules(first: T, readers: usize) -> Self {
            Self::with_readers(first, readers)
        }

        pub(crate) fn read_by<R>(
            &self,
            number: usize,
            read: impl FnOnce(&T) -> R,
            was_old: impl FnOnce(),
        ) -> R {
            self.read_as(number, read, was_old)
        }
    }

    #[cfg(not(shuttle))]
    mod with_threads {
        use std::sync::Barrier;
        use std::sync::atomic::AtomicU64;

        use super::*;

        fn read<T, R>(published: &Published<T>, read: impl FnOnce(&T) -> R) -> R {
            published.read(read, || published.release())
        }

        /// With the first place, which is this thread's because no other one reads: its own number may be none while
        /// other tests take them all.
        fn read_here<T, R>(
            published: &Published<T>,
            read: impl FnOnce(&T) -> R,
            was_old: impl FnOnce(),
        ) -> R {
            published.read_as(0, read, was_old)
        }

        #[test]
        fn a_thread_that_has_read_keeps_nothing() {
            let first = Watched::new(0);
            let gone = Arc::clone(&first.gone);
            let published = Published::new(first);
            let barrier = Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    assert_eq!(read(&published, Watched::check), 0);
                    barrier.wait();
                    // Idle for as long as the other thread looks.
                    barrier.wait();
                });
                barrier.wait();
                published.replace(|_| Watched::new(1));
                assert!(gone.load(Ordering::SeqCst), "an idle thread holds an old value");
                assert_eq!(published.retired_values(), 0);
                barrier.wait();
            });
        }

        #[test]
        fn an_old_value_lives_until_its_reader_has_left_and_says_so() {
            let first = Watched::new(0);
            let gone = Arc::clone(&first.gone);
            let published = Published::new(first);
            let mut was_old = false;
            let look = |value: &Watched| {
                published.replace(|_| Watched::new(1));
                published.release();
                assert_eq!((published.retired_values(), value.check()), (1, 0));
                // A read in a read sees what is current, and so do its own.
                let innermost = || read_here(&published, Watched::check, || published.release());
                let inner =
                    read_here(&published, |inner| inner.check() + innermost(), || published.release());
                assert_eq!(inner, 2);
                assert!(!gone.load(Ordering::SeqCst));
            };
            read_here(&published, look, || was_old = true);
            assert!(was_old, "the last reader does not know");
            assert_eq!(published.retired_values(), 1);
            published.release();
            assert!(gone.load(Ordering::SeqCst));
            assert_eq!(published.retired_values(), 0);
            read_here(&published, Watched::check, || panic!("the value is not old"));
        }

        #[test]
        fn a_reader_that_panics_leaves_no_note() {
            let published = Published::new(Watched::new(0));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                read(&published, |_| panic!("on purpose"));
            }));
            assert!(panicked.is_err());
            published.replace(|_| Watched::new(1));
            assert_eq!(published.retired_values(), 0);
            assert_eq!(read(&published, Watched::check), 1);
        }

        #[test]
        fn readers_beside_replacements_see_whole_values_that_only_grow() {
            let _numbers = thread_number::tests::take_all();
            let published = Published::new(Watched::new(0));
            let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
            std::thread::scope(|scope| {
                // More than there are numbers for: the others count references.
                for _ in 0..NUMBERS + 4 {
                    scope.spawn(|| {
                        let mut last = 0;
                        while !done.load(Ordering::Relaxed) {
                            for _ in 0..100 {
                                let seen = read(&published, Watched::check);
                                assert!(seen >= last, "{seen} after {last}");
                                last = seen;
                            }
                            reads.fetch_add(100, Ordering::Relaxed);
                            std::thread::yield_now();
                        }
                    });
                }
                for number in 1..=3000 {
                    published.replace(|before| Watched::new(before.number + 1));
                    assert_eq!(published.pin().check(), number);
                }
                while reads.load(Ordering::Relaxed) < 1000 {
                    std::thread::yield_now();
                }
                done.store(true, Ordering::Relaxed);
            });
            published.release();
            assert_eq!(published.retired_values(), 0);
        }
    }
}

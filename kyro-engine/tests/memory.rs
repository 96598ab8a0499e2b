//! A data set of ten times the memory budget, loaded, flushed and merged within it. Counts what is allocated; mapped
//! files are not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use kyro_engine::{Batch, Durability, Engine, Options};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: Every call is passed on as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: As the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: As the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BUDGET: usize = 16 << 20;
const VALUE: usize = 400;
const KEYS: u64 = (10 * BUDGET / (VALUE + 16)) as u64;

#[test]
fn ten_times_the_budget_fits_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.memory_budget = Some(BUDGET as u64);
    options.durability = Durability::Never;
    options.wal_segment_bytes = 4 << 20;
    options.max_runs = 4;
    let before = NOW.load(Ordering::Relaxed);
    let engine = Engine::open(dir.path(), options).unwrap();
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for first in (0..KEYS).step_by(64) {
        let mut batch = Batch::new();
        for number in first..KEYS.min(first + 64) {
            batch.put(key(number), [number as u8; VALUE]);
        }
        engine.write_waiting(batch).unwrap().wait().unwrap();
    }
    engine.compact().unwrap();
    let most = MOST.load(Ordering::Relaxed) - before;
    let stats = engine.stats();
    println!(
        "{} KiB at most of {} KiB, {} flushes, {} merges",
        most >> 10,
        BUDGET >> 10,
        stats.flushes,
        stats.compactions
    );
    assert!(stats.flushes > 20 && stats.compactions > 1);
    assert!(stats.runs[0].bytes > 10 * BUDGET as u64 * 9 / 10);
    assert!(most < BUDGET, "{most} bytes of {BUDGET}");
    for number in (0..KEYS).step_by(97) {
        assert_eq!(engine.get(key(number)).unwrap().as_deref(), Some(&[number as u8; VALUE][..]));
    }
}

//! A data set of ten times the memory budget, loaded, flushed and merged within it. Counts what is allocated; mapped
//! files are not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and its figures are for people"
)]
#![allow(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::{Batch, BulkBuild, BulkOptions, Compression, Durability, Engine, Options};

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

/// Loads, flushes and merges ten times the budget in values of so many bytes, and gives the most memory it took.
fn ten_times_the_budget<const VALUE: usize>(compression: Compression) -> usize {
    let keys = (10 * BUDGET / (VALUE + 16)) as u64;
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.memory_budget = Some(BUDGET as u64);
    options.durability = Durability::Never;
    options.wal_segment_bytes = 4 << 20;
    options.max_runs = 4;
    options.compression = compression;
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let engine = Engine::open(dir.path(), options).unwrap();
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for first in (0..keys).step_by(256) {
        let mut batch = Batch::new();
        for number in first..keys.min(first + 256) {
            batch.put(key(number), [number as u8; VALUE]);
        }
        engine.write_waiting(batch).unwrap().wait().unwrap();
    }
    // The first merge by itself may be late; the next line makes one.
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.stats().compactions == 0 {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.compact().unwrap();
    for number in (0..keys).step_by(97) {
        assert_eq!(engine.get(key(number)).unwrap().as_deref(), Some(&[number as u8; VALUE][..]));
    }
    let most = MOST.load(Ordering::Relaxed) - before;
    let stats = engine.stats();
    println!(
        "values of {VALUE} bytes, {keys} of them: {} KiB at most of {} KiB, {} flushes, {} merges",
        most >> 10,
        BUDGET >> 10,
        stats.flushes,
        stats.compactions
    );
    assert!(
        stats.flushes > 20 && stats.compactions > 1,
        "{} flushes, {} merges",
        stats.flushes,
        stats.compactions
    );
    assert!(compression != Compression::None || stats.runs[0].bytes > 10 * BUDGET as u64 * 9 / 10);
    most
}

/// Builds ten times the budget in bulk, in no order, and gives the most memory it took.
fn bulk_of_ten_times_the_budget<const VALUE: usize>() -> usize {
    let records = (10 * BUDGET / (VALUE + 16)) as u64;
    let dir = tempfile::tempdir().unwrap();
    let mut options = BulkOptions::default();
    options.engine.memory_budget = Some(BUDGET as u64);
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let mut build = BulkBuild::create(dir.path(), options).unwrap();
    for number in 0..records {
        build.push(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), &[number as u8; VALUE]).unwrap();
    }
    let report = build.finish().unwrap();
    let most = MOST.load(Ordering::Relaxed) - before;
    println!(
        "bulk of {records}: {} KiB at most of {} KiB, {} parts",
        most >> 10,
        BUDGET >> 10,
        report.spills
    );
    assert!(report.keys == records && report.spills > 10);
    most
}

#[test]
fn ten_times_the_budget_fits_into_it() {
    // One after the other: what is counted is the whole process.
    let most = [
        ten_times_the_budget::<400>(Compression::None),
        ten_times_the_budget::<400>(Compression::Lz4),
        ten_times_the_budget::<8>(Compression::None),
        bulk_of_ten_times_the_budget::<16>(),
    ];
    assert!(most.iter().all(|&bytes| bytes < BUDGET), "{most:?} bytes of {BUDGET}");
}

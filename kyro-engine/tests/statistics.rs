//! What the engine counts of itself, against what was done to it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Engine, Options, ReadError, WriteError};

/// How long to wait for what a thread of the engine does, on a machine where any thread may stand still for a while.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(disk: &SimDisk, change: impl FnOnce(&mut Options)) -> Engine {
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    options.auto_flush = false;
    change(&mut options);
    Engine::open_on(Arc::new(disk.clone()), "/db", options).unwrap()
}

#[test]
fn groups_and_syncs_are_histograms_that_agree_with_their_sums() {
    let engine = open(&SimDisk::new(), |_| ());
    (0..20).for_each(|key| assert!(engine.put(key, "x").unwrap() < 20));
    let stats = engine.stats();
    assert_eq!((stats.groups, stats.group_batches), (20, 20));
    assert_eq!((stats.group_sizes.count(), stats.group_sizes.sum), (20, 20));
    assert_eq!(stats.group_sizes.counts.first(), Some(&20), "one writer makes groups of one");
    assert_eq!(stats.group_sizes.counts.len(), stats.group_sizes.bounds.len() + 1);
    assert!(stats.group_sizes.bounds.is_sorted() && stats.sync_times.bounds.is_sorted());
    assert_eq!(stats.sync_times.count(), stats.syncs);
    assert!(stats.syncs >= 20, "{}", stats.syncs);
    assert_eq!(u128::from(stats.sync_times.sum), stats.sync_time.as_nanos());
}

#[test]
fn a_write_held_back_is_a_stall_with_its_reason() {
    let engine = open(&SimDisk::new(), |options| options.delta_bytes = 1);
    engine.put(1, [7; 100]).unwrap();
    let mut batch = Batch::new();
    batch.put(2, "x");
    assert!(matches!(engine.write(batch), Err(WriteError::Busy { .. })));
    assert!(matches!(engine.put(2, "x"), Err(WriteError::Busy { .. })), "nothing will flush");
    let stats = engine.stats();
    let counts: Vec<_> = stats.stalls.iter().map(|stall| (stall.reason, stall.count)).collect();
    assert_eq!(
        counts,
        [("queue_batches", 0), ("queue_bytes", 0), ("memory", 2), ("ranges", 0), ("storage_full", 0)]
    );
    assert_eq!(stats.refused_busy, 2);
}

#[test]
fn damage_met_in_the_log_is_counted() {
    let disk = SimDisk::new();
    let engine = open(&disk, |_| ());
    (0..3).for_each(|key| assert!(engine.put(key, [0x5a; 200]).unwrap() < 3));
    assert_eq!(engine.stats().wal_checksum_errors, 0);
    let (path, bytes) = disk.contents().into_iter().find(|(path, _)| path.starts_with("/db/wal")).unwrap();
    let at = bytes.windows(20).position(|window| window == [0x5a; 20]).unwrap();
    disk.flip_bit(&path, at as u64 * 8).unwrap();
    let read = engine.replay(0, None).unwrap().next().unwrap();
    assert!(matches!(read, Err(ReadError::Corrupt { .. })), "{read:?}");
    assert_eq!(engine.stats().wal_checksum_errors, 1);
    assert_eq!(engine.stats().corrupt_reads, 0, "no run is damaged");
}

fn load(engine: &Engine, keys: impl Iterator<Item = u64>) {
    let mut batch = Batch::new();
    keys.for_each(|key| {
        batch.put(key, key.to_le_bytes());
    });
    engine.write(batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
}

/// Asks for absent keys until every run has a filter.
fn until_filtered(engine: &Engine) {
    let deadline = Instant::now() + PATIENCE;
    for round in 0_u64.. {
        for key in 0..4096 {
            assert_eq!(engine.get(1 << 40 | round << 20 | key).unwrap(), None);
        }
        if engine.stats().runs.iter().all(|run| run.filter_bytes > 0) {
            return;
        }
        assert!(Instant::now() < deadline, "no filters: {:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn runs_get_filters_once_searches_in_vain_pay_for_them() {
    let engine = open(&SimDisk::new(), |options| options.max_runs = 64);
    let runs = 3;
    for run in 0..runs {
        load(&engine, (0..20_000).map(|number| number * runs + run));
    }
    for key in (0..60_000).step_by(10) {
        assert_eq!(engine.get(key).unwrap().as_deref(), Some(&key.to_le_bytes()[..]));
    }
    let before = engine.stats();
    assert!(before.runs.iter().all(|run| run.filter_bytes == 0), "too early");
    assert_eq!(
        (before.vain_searches, before.filtered_searches),
        (6_000, 0),
        "a search in vain a key, on average"
    );
    until_filtered(&engine);
    let made = engine.stats();
    assert!(made.runs.iter().all(|run| run.filter_bytes == 20_000 * 12 / 64 * 8), "{:?}", made.runs);
    for key in 0..60_000 {
        assert_eq!(engine.get(key).unwrap().as_deref(), Some(&key.to_le_bytes()[..]));
    }
    engine.delete(7).unwrap();
    assert_eq!(engine.get(7).unwrap(), None);
    let after = engine.stats();
    let single = (after.filtered_searches, after.vain_searches);
    let (saved, vain) =
        (after.filtered_searches - made.filtered_searches, after.vain_searches - made.vain_searches);
    assert_eq!(saved + vain, 60_000, "keys of the oldest run take two, of the newest none");
    assert!(vain < 60_000 / 25, "{vain} of 60,000 were let through");
    assert_eq!((after.mispredicts, after.index_hits - made.index_hits), (0, 60_000));

    // Many keys at once ask the filters too.
    let absent: Vec<u64> = (0..10_000).map(|key| 1 << 45 | key).collect();
    assert!(engine.mget(&absent).unwrap().iter().all(Option::is_none));
    let keys: Vec<u64> = (0..60_000).filter(|key| *key != 7).collect();
    for (key, value) in keys.iter().zip(engine.mget(&keys).unwrap()) {
        assert_eq!(value.as_deref(), Some(&key.to_le_bytes()[..]));
    }
    let after = engine.stats();
    let (saved, vain) = (after.filtered_searches - single.0, after.vain_searches - single.1);
    assert!(
        (89_990..=90_000).contains(&(saved + vain)),
        "{saved} and {vain}: three runs for each absent key"
    );
    assert!(vain < 90_000 / 25, "{vain} of 90,000 were let through");
}

#[test]
fn a_reader_gets_filters_when_it_is_refreshed_and_mget_counts_too() {
    let disk = SimDisk::new();
    let engine = open(&disk, |options| options.max_runs = 64);
    load(&engine, 0..20_000);
    load(&engine, 20_000..40_000);
    let reader = Engine::open_read_only_on(Arc::new(disk), "/db", Options::default()).unwrap();
    let filtered = || reader.stats().runs.iter().filter(|run| run.filter_bytes > 0).count();
    reader.refresh().unwrap();
    assert_eq!(filtered(), 0, "too early");
    let absent: Vec<u64> = (0..1_000).map(|key| 1 << 45 | key).collect();
    let view = reader.view();
    for _ in 0..100 {
        assert!(view.mget(&absent).unwrap().iter().all(Option::is_none));
    }
    assert_eq!(reader.stats().vain_searches, 200_000);
    reader.refresh().unwrap();
    assert_eq!(filtered(), 2, "{:?}", reader.stats().runs);
    assert!(!reader.contains(1 << 45).unwrap());
    assert_eq!(reader.get(30_000).unwrap().as_deref(), Some(&30_000_u64.to_le_bytes()[..]));
    assert!(reader.stats().filtered_searches >= 1, "nothing asked a filter");
}

#[test]
fn filters_beyond_their_share_of_the_memory_are_not_made() {
    let engine = open(&SimDisk::new(), |options| options.memory_budget = Some(1));
    // A sixteenth of the smallest budget that is honoured is 1 MiB: room for 699,050 keys.
    load(&engine, 0..400_000);
    load(&engine, (0..400_000).map(|number| 1 << 32 | number));
    for key in 0..120_000 {
        assert_eq!(engine.get(1 << 50 | key).unwrap(), None);
    }
    let sizes = || engine.stats().runs.iter().map(|run| run.filter_bytes).collect::<Vec<_>>();
    let deadline = Instant::now() + PATIENCE;
    while sizes().iter().all(|&bytes| bytes == 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sizes(), [600_000, 0], "the newer run has one");
    assert_eq!(engine.get(5).unwrap().as_deref(), Some(&5_u64.to_le_bytes()[..]));
}

#[test]
fn a_run_tells_how_well_its_index_fits() {
    let engine = open(&SimDisk::new(), |_| ());
    load(&engine, (0..50_000).map(|number| number * 1_000));
    let even = engine.stats().runs[0].clone();
    assert_eq!((even.entries, even.fallback_share), (50_000, 0.0));
    assert!(even.index_leaves > 0 && even.bits_per_key > 0.0 && even.max_window >= 16);
    assert!(even.epsilon_p50 <= even.epsilon_p99 && even.epsilon_p99 <= even.epsilon_max);
}

//! What the engine counts of itself, against what was done to it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Engine, Options, ReadError, WriteError};

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

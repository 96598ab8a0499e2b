//! What is in memory and what is not, told without reading; and work that only reads, cancelled.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kyro_engine::{
    CheckpointError, CheckpointOptions, Compression, Engine, MaintenanceError, Options, Presence,
};

const KEYS: u64 = 32;

fn value(key: u64) -> Vec<u8> {
    vec![key as u8; 40_000 + key as usize]
}

/// An engine that was opened over what another one wrote: nothing of it has been read yet.
fn cold(place: &tempfile::TempDir) -> Engine {
    cold_with(place, &Options::default())
}

fn cold_with(place: &tempfile::TempDir, options: &Options) -> Engine {
    let open = || Engine::open(place.path().join("db"), options.clone()).unwrap();
    let engine = open();
    for key in 0..KEYS {
        engine.put(2 * key, value(key)).unwrap();
    }
    engine.delete(2 * 20).unwrap();
    engine.flush().unwrap();
    assert!((0..=2 * KEYS).all(|key| engine.has_at_hand(key, Presence::Read)), "it was just written");
    engine.close().unwrap();
    drop(engine);
    open()
}

/// The window of a key near the end of a block reaches into the next one, which a get does not need.
#[test]
fn a_key_near_the_end_of_a_block_is_at_hand_once_it_was_fetched() {
    let place = tempfile::tempdir().unwrap();
    let open = || Engine::open(place.path(), Options::default()).unwrap();
    let engine = open();
    let mut batch = kyro_engine::Batch::new();
    (0..10_000_u64).for_each(|key| {
        batch.put(key * key, key.to_le_bytes());
    });
    engine.write(batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);
    // 4 KiB of header, 80 KB of values, then the keys: a block of 16 KiB begins with the one at (98,304 - 84,096) / 8.
    for index in (1_700..1_850_u64).step_by(3) {
        let engine = open();
        engine.fetch(index * index).unwrap();
        assert!(engine.has_at_hand(index * index, Presence::Read), "{index}");
        engine.close().unwrap();
    }
}

#[test]
fn a_key_is_at_hand_once_it_was_fetched() {
    let place = tempfile::tempdir().unwrap();
    let engine = cold(&place);
    assert!(!engine.is_read());
    for presence in [Presence::Read, Presence::Resident] {
        assert!((0..KEYS).all(|key| !engine.has_at_hand(2 * key, presence)), "{presence:?}");
    }
    // A value, a tombstone, a key that is not there.
    for key in [6, 2 * 20, 7] {
        engine.fetch(key).unwrap();
        assert!(engine.has_at_hand(key, Presence::Read), "{key}");
        assert!(engine.has_at_hand(key, Presence::Resident), "{key}");
    }
    assert!(!engine.has_at_hand(2 * 30, Presence::Read), "the others are as they were");
    assert_eq!(engine.get(6).unwrap().unwrap(), value(3));
    engine.put(2 * 30, "new").unwrap();
    assert!(engine.has_at_hand(2 * 30, Presence::Read), "among the recent writes");
    let reads = engine.stats().index_reads;
    engine.fetch(2 * 31).unwrap();
    assert_eq!(engine.stats().index_reads, reads, "a fetch is no read");
}

#[test]
fn a_compressed_value_is_at_hand_once_it_was_fetched() {
    let place = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.compression = Compression::Lz4;
    let engine = cold_with(&place, &options);
    for key in 0..KEYS {
        engine.fetch(2 * key).unwrap();
        assert!(engine.has_at_hand(2 * key, Presence::Read), "{key}");
        let expected = (key != 20).then(|| value(key));
        assert_eq!(engine.get(2 * key).unwrap().as_deref(), expected.as_deref(), "{key}");
    }
}

#[test]
fn what_a_deleted_range_covers_is_at_hand_once_it_was_fetched() {
    let place = tempfile::tempdir().unwrap();
    let engine = cold(&place);
    let mut batch = kyro_engine::Batch::new();
    batch.delete_range(0..=2 * KEYS);
    engine.write(batch).unwrap().wait().unwrap();
    assert!(!engine.has_at_hand(6, Presence::Read));
    engine.fetch(6).unwrap();
    assert!(engine.has_at_hand(6, Presence::Read));
    assert_eq!(engine.get(6).unwrap(), None);
}

#[test]
fn after_a_warm_up_everything_is_at_hand() {
    let place = tempfile::tempdir().unwrap();
    let engine = cold(&place);
    let cancel = Arc::new(AtomicBool::new(true));
    let stopped = engine.warm_up_unless(&cancel).unwrap_err();
    assert!(matches!(stopped, MaintenanceError::Cancelled), "{stopped}");
    assert!(!engine.is_read());
    assert!(engine.warm_up().unwrap().bytes > 40_000 * (KEYS - 1));
    assert!(engine.is_read());
    assert!((0..=2 * KEYS).all(|key| engine.has_at_hand(key, Presence::Read)));
}

#[test]
fn a_cancelled_checkpoint_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let engine = cold(&place);
    let to = place.path().join("copy");
    let cancel = Arc::new(AtomicBool::new(true));
    let stopped = engine.checkpoint_unless(&to, &CheckpointOptions::default(), &cancel).unwrap_err();
    assert!(matches!(stopped, CheckpointError::Flush(MaintenanceError::Cancelled)), "{stopped}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "the database alone");
    assert_eq!(engine.checkpoint(&to).unwrap().runs, 1);
}

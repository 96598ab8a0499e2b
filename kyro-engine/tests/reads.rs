//! Which path answers a read, and what happens when the bytes under it are damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use kyro_engine::{Batch, Engine, Options, ReadError, Stats};

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 64 << 10;
    options
}

fn file(dir: &Path, suffix: &str) -> PathBuf {
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == suffix));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Clustered keys over the whole range, the kind that misleads a model.
fn key(index: u64) -> u64 {
    (index / 10) * 0x1234_5678_9abc + (index % 10) * 3
}

fn filled(dir: &Path, keys: u64) -> Engine {
    let engine = Engine::open(dir, options()).unwrap();
    let mut batch = Batch::new();
    for index in 0..keys {
        batch.put(key(index), format!("value {index}"));
    }
    engine.write(batch).unwrap().wait().unwrap();
    engine
}

fn answered(before: &Stats, after: &Stats) -> (u64, u64, u64, u64) {
    (
        after.delta_reads - before.delta_reads,
        after.index_reads - before.index_reads,
        after.index_hits - before.index_hits,
        after.index_misses - before.index_misses,
    )
}

#[test]
fn recent_writes_are_read_from_the_delta_and_flushed_ones_through_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let engine = filled(dir.path(), 5000);
    let start = engine.stats();
    for index in 0..5000 {
        assert_eq!(engine.get(key(index)).unwrap().unwrap(), format!("value {index}"));
    }
    let read = engine.stats();
    assert_eq!(answered(&start, &read), (5000, 0, 0, 0));

    engine.flush().unwrap();
    for index in 0..5000 {
        assert_eq!(engine.get(key(index)).unwrap().unwrap(), format!("value {index}"));
        assert_eq!(engine.get(key(index) + 1).unwrap(), None);
    }
    let flushed = engine.stats();
    assert_eq!(answered(&read, &flushed), (0, 10_000, 5000, 5000));
    assert_eq!(flushed.mispredicts, 0);
    assert_eq!(flushed.runs.len(), 1);
    assert!(flushed.runs[0].max_window > 0 && flushed.runs[0].index_leaves > 0, "{:?}", flushed.runs);
}

#[test]
fn deleted_and_overwritten_keys_in_several_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.max_runs = 10;
    let engine = Engine::open(dir.path(), options).unwrap();
    engine.put(1, "old").unwrap();
    engine.put(2, "kept").unwrap();
    engine.put(3, "gone").unwrap();
    engine.flush().unwrap();
    engine.put(1, "new").unwrap();
    engine.delete(3).unwrap();
    engine.flush().unwrap();
    let check = |runs, tombstones| {
        assert_eq!(engine.get(1).unwrap().unwrap(), "new");
        assert_eq!(engine.get(2).unwrap().unwrap(), "kept");
        assert_eq!(engine.get(3).unwrap(), None);
        assert_eq!(engine.offset(3).unwrap(), None);
        let stats = engine.stats();
        assert_eq!(stats.runs.len(), runs);
        assert_eq!(stats.runs.iter().map(|run| run.tombstones).sum::<u64>(), tombstones);
    };
    check(2, 1);
    engine.compact().unwrap();
    check(1, 0);
    // Everything deleted: no run is left, and the deletions are not needed any more.
    engine.delete(1).unwrap();
    engine.delete(2).unwrap();
    assert_eq!(engine.compact().unwrap().keys_retained, 0);
    assert_eq!(engine.stats().runs.len(), 0);
    assert_eq!(engine.get(1).unwrap(), None);
}

#[test]
fn a_value_outlives_the_run_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let engine = filled(dir.path(), 100);
    engine.flush().unwrap();
    let held = engine.get(key(50)).unwrap().unwrap();
    engine.put(key(50), "newer").unwrap();
    engine.delete(key(51)).unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    drop(engine);
    assert_eq!(held, "value 50");
}

#[test]
fn a_damaged_or_missing_index_is_trained_again() {
    for damage in ["flip", "truncate", "remove", "foreign"] {
        let dir = tempfile::tempdir().unwrap();
        let engine = filled(dir.path(), 3000);
        engine.flush().unwrap();
        engine.close().unwrap();
        drop(engine);
        let index = file(dir.path(), "idx");
        let mut bytes = std::fs::read(&index).unwrap();
        match damage {
            "flip" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&index, &bytes).unwrap();
            }
            "truncate" => std::fs::write(&index, &bytes[..bytes.len() / 2]).unwrap(),
            "remove" => std::fs::remove_file(&index).unwrap(),
            _ => {
                let other = tempfile::tempdir().unwrap();
                let engine = filled(other.path(), 2000);
                engine.flush().unwrap();
                engine.close().unwrap();
                std::fs::copy(file(other.path(), "idx"), &index).unwrap();
            }
        }
        let engine = Engine::open(dir.path(), options()).unwrap();
        assert_eq!(engine.stats().recovery.indexes_rebuilt, 1, "{damage}");
        for index in 0..3000 {
            assert_eq!(engine.get(key(index)).unwrap().unwrap(), format!("value {index}"), "{damage}");
        }
        assert_eq!(engine.stats().mispredicts, 0, "{damage}");
        engine.close().unwrap();
        drop(engine);
        let engine = Engine::open(dir.path(), options()).unwrap();
        assert_eq!(engine.stats().recovery.indexes_rebuilt, 0, "{damage}: the new index was kept");
    }
}

#[test]
fn a_flipped_bit_in_a_run_is_an_error_for_its_block_and_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let engine = filled(dir.path(), 20_000);
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);
    let run = file(dir.path(), "run");
    let good = std::fs::read(&run).unwrap();
    let (mut wrong_blocks, mut right) = (0, 0);
    for at in (4096..good.len() - 4096).step_by(good.len() / 23) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&run, &damaged).unwrap();
        let engine = match Engine::open(dir.path(), options()) {
            Ok(engine) => engine,
            Err(kyro_engine::OpenError::Corrupt { .. }) => continue,
            Err(other) => panic!("byte {at}: {other:?}"),
        };
        for index in (0..20_000).step_by(37) {
            match engine.get(key(index)) {
                Ok(value) => {
                    assert_eq!(value.unwrap(), format!("value {index}"), "byte {at}");
                    right += 1;
                }
                Err(ReadError::Corrupt { file, offset, .. }) => {
                    assert_eq!(file, run);
                    assert!(offset <= at as u64, "damage at {at} reported at {offset}");
                    wrong_blocks += 1;
                }
                Err(other) => panic!("byte {at}: {other:?}"),
            }
            match engine.get(key(index) + 1) {
                Ok(None) | Err(ReadError::Corrupt { .. }) => {}
                other => panic!("byte {at}: an absent key is {other:?}"),
            }
        }
        assert!(engine.verify().is_err(), "byte {at} passes verify");
        assert_eq!(engine.stats().runs.len(), 1);
    }
    assert!(wrong_blocks > 0 && right > wrong_blocks, "{wrong_blocks} refused, {right} right");
}

#[test]
fn history_goes_on_where_a_reader_was_and_says_when_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let engine = filled(dir.path(), 10);
    let mut replay = engine.replay(4, None).unwrap();
    let offsets: Vec<u64> = replay.by_ref().map(|event| event.unwrap().offset).collect();
    assert_eq!(offsets, [4, 5, 6, 7, 8, 9]);
    engine.put(1, "more").unwrap();
    assert_eq!(replay.next().unwrap().unwrap().offset, 10, "a replay goes on when there is more");
    assert!(replay.next().is_none());
    assert_eq!(engine.replay(2, Some(5)).unwrap().count(), 3);
    assert_eq!(engine.replay(99, None).unwrap().count(), 0);

    // Segments are purged whole: write until the first ones can go.
    for round in 0..40_u64 {
        engine.put(round, vec![7; 10_000]).unwrap();
    }
    engine.flush().unwrap();
    let oldest = engine.oldest_offset();
    assert!(oldest > 10, "{:?}", engine.stats().wal);
    match engine.replay(0, None) {
        Err(ReadError::HistoryGone { oldest: told }) => assert_eq!(told, oldest),
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.replay(oldest, None).unwrap().next().unwrap().unwrap().offset, oldest);
}

#[test]
fn an_event_without_a_key_stays_through_flush_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), options()).unwrap();
    let event = engine.append("kept").unwrap();
    for round in 0..40_u64 {
        engine.put(round, vec![7; 10_000]).unwrap();
    }
    engine.compact().unwrap();
    let found = engine.replay(event, Some(event + 1)).unwrap().next().unwrap().unwrap();
    assert_eq!(found.op, kyro_engine::EventOp::Append { payload: "kept".into() });
}

#[test]
fn the_quality_of_an_index_is_told_from_a_sample() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    assert!(engine.index_quality(100).unwrap().is_empty(), "no run yet");
    let mut batch = Batch::new();
    for number in 0..3000_u64 {
        batch.put(number * number, "v");
    }
    engine.write(batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
    let quality = engine.index_quality(1000).unwrap();
    assert_eq!((quality.len(), quality[0].keys), (1, 3000));
    assert_eq!(quality[0].counts.iter().sum::<u64>(), 1000);
    // Half a window is the farthest that a key in its window can be from its middle.
    let half = engine.stats().runs[0].max_window / 2;
    let farthest = kyro_engine::IndexQuality::BOUNDS.partition_point(|bound| *bound < half);
    assert!(quality[0].counts.iter().skip(farthest + 1).all(|count| *count == 0), "{quality:?}");
    assert_eq!(engine.index_quality(u64::MAX).unwrap()[0].counts.iter().sum::<u64>(), 3000);
}

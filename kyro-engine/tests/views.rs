//! Views: what they see stays what it was, whatever happens to the database meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kyro_engine::storage::SimDisk;
use kyro_engine::{Batch, Engine, Options, View};
use proptest::prelude::*;

/// What the map says, the view says; and nothing else is there.
fn assert_sees(view: &View, expected: &BTreeMap<u64, (u64, Vec<u8>)>, keys: u64) {
    for key in 0..keys {
        let entry = view.get_entry(key).unwrap().map(|(offset, value)| (offset, value.to_vec()));
        assert_eq!(entry.as_ref(), expected.get(&key), "key {key}");
        assert_eq!(view.get(key).unwrap().map(|value| value.to_vec()), entry.clone().map(|(_, value)| value));
        assert_eq!(view.get_with(key, <[u8]>::to_vec).unwrap(), entry.clone().map(|(_, value)| value));
        assert_eq!(view.offset(key).unwrap(), entry.as_ref().map(|(offset, _)| *offset));
        assert_eq!(view.contains(key).unwrap(), entry.is_some());
    }
}

#[test]
fn a_held_view_outlives_overwriting_flush_compaction_and_close() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    let mut expected = BTreeMap::new();
    for key in 0..300 {
        let offset = engine.put(key, [key as u8; 40]).unwrap();
        expected.insert(key, (offset, vec![key as u8; 40]));
    }
    engine.flush().unwrap();
    for key in 0..100 {
        engine.delete(key).unwrap();
        expected.remove(&key);
    }
    let view = engine.view().unwrap();
    assert_eq!(view.next_offset(), engine.next_offset());
    let clone = view.clone();

    for round in 0..4_u8 {
        for key in 0..300 {
            engine.put(key, [round; 3]).unwrap();
        }
        engine.flush().unwrap();
        engine.compact().unwrap();
    }
    assert_eq!(engine.stats().runs.len(), 1);
    let left = std::fs::read_dir(dir.path().join("runs")).unwrap().count();
    assert_eq!(left, 2, "replaced runs lose their names although a view holds them");
    assert_sees(&view, &expected, 310);
    assert_eq!(engine.get(5).unwrap().unwrap(), [3_u8; 3][..], "the engine itself goes on");

    engine.close().unwrap();
    drop(engine);
    drop(view);
    assert_sees(&clone, &expected, 310);
}

fn open_simulated() -> Engine {
    Engine::open_on(Arc::new(SimDisk::new()), "/db", Options::default()).unwrap()
}

#[test]
fn a_view_never_sees_a_part_of_a_batch_nor_a_gap() {
    let engine = open_simulated();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..3000_u64 {
                let mut batch = Batch::new();
                for key in 0..4 {
                    batch.put(key, round.to_le_bytes());
                }
                engine.write_waiting(batch).unwrap().wait().unwrap();
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                engine.flush().unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let view = engine.view().unwrap();
                // Each round takes four offsets, so the view's offset says which round it must see.
                let rounds = view.next_offset() / 4;
                for key in 0..4 {
                    let seen = view.get(key).unwrap().map(|value| value.to_vec());
                    let expected = rounds.checked_sub(1).map(|round| round.to_le_bytes().to_vec());
                    assert_eq!(seen, expected, "key {key} below {}", view.next_offset());
                }
            }
        });
    });
}

#[derive(Debug, Clone)]
enum Step {
    Put(u64, u8),
    Delete(u64),
    Flush,
    Compact,
    Hold,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..20_u64, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => (0..20_u64).prop_map(Step::Delete),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        3 => Just(Step::Hold),
        1 => Just(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_held_view_agrees_with_the_map_of_its_moment(steps in proptest::collection::vec(step(), 1..80)) {
        let engine = open_simulated();
        let mut now = BTreeMap::new();
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    let offset = engine.put(key, [value]).unwrap();
                    now.insert(key, (offset, vec![value]));
                }
                Step::Delete(key) => {
                    engine.delete(key).unwrap();
                    now.remove(&key);
                }
                Step::Flush => drop(engine.flush().unwrap()),
                Step::Compact => drop(engine.compact().unwrap()),
                Step::Hold => held.push((engine.view().unwrap(), now.clone())),
                Step::Release => drop(held.pop()),
            }
        }
        held.push((engine.view().unwrap(), now));
        for (view, expected) in &held {
            assert_sees(view, expected, 20);
        }
    }
}

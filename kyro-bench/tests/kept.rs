//! What a store acknowledged is read back, and one that lies is caught.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use clap::ValueEnum;
use kyro_bench::kv::reads::{Answer, Task};
use kyro_bench::kv::{Contender, Entries, Failure, KeyValue, NotKept, verify};
use kyro_bench::wal::writers;
use kyro_engine::Durability;

const ENTRIES: Entries = Entries { seed: 5, value_bytes: 20 };

/// A store in memory that does one thing wrong, with one key.
#[derive(Default)]
struct Liar {
    kept: Mutex<BTreeMap<u64, Vec<u8>>>,
    loses: Option<u64>,
    changes: Option<u64>,
    fails: Option<u64>,
}

impl KeyValue for Liar {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        if self.loses != Some(key) {
            self.kept.lock().unwrap().insert(key, value.to_vec());
        }
        Ok(())
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut value = Vec::new();
        for number in batches.flatten() {
            entries.fill(entries.key(number), &mut value);
            self.put(entries.key(number), &value)?;
        }
        Ok(())
    }

    fn load_sorted(&self, _: Entries, _: &[u64]) -> Result<(), Failure> {
        Err("not asked for here".into())
    }

    fn settle(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn read(&self, _: &mut Task<'_>) -> Result<Answer, Failure> {
        Err("not asked for here".into())
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        Ok(self.get(key)?.map(|value| each(&value)).is_some())
    }

    fn scan_with(&self, _: u64, _: usize, _: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        Err("not asked for here".into())
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        if self.fails == Some(key) {
            return Err("cannot".into());
        }
        let mut value = self.kept.lock().unwrap().get(&key).cloned();
        if let Some(value) = value.as_mut().filter(|_| self.changes == Some(key)) {
            value[7] ^= 1;
        }
        Ok(value)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn one_lost_changed_or_unreadable_entry_is_found() {
    let about = Some(ENTRIES.key(4_321));
    let check = |liar: Liar| {
        let written = writers::put(&liar, ENTRIES, 0, 4, Duration::ZERO).unwrap();
        assert_eq!(written.end, 4);
        liar.load(ENTRIES, &mut std::iter::once(4..10_000)).unwrap();
        verify(&liar, ENTRIES, 0..10_000)
    };
    assert_eq!(check(Liar::default()).unwrap(), 10_000);
    let lost = check(Liar { loses: about, ..Liar::default() });
    assert!(matches!(lost, Err(NotKept::Lost { number: 4_321, .. })), "{lost:?}");
    let changed = check(Liar { changes: about, ..Liar::default() });
    assert!(matches!(changed, Err(NotKept::Changed { number: 4_321, .. })), "{changed:?}");
    let unreadable = check(Liar { fails: about, ..Liar::default() });
    assert!(matches!(unreadable, Err(NotKept::Unreadable { number: 4_321, .. })), "{unreadable:?}");
}

/// Every store that is built in, in both modes: puts by several threads, a load, and all of it there after reopening.
#[test]
fn every_store_keeps_what_it_acknowledges() {
    for contender in Contender::value_variants() {
        for durability in [Durability::Always, Durability::Never] {
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join("store");
            let store = match contender.open(&place, durability) {
                Ok(store) => store,
                Err(failure) => {
                    assert!(failure.to_string().contains("rivals-engines"), "{contender:?}: {failure}");
                    continue;
                }
            };
            let put = writers::put(&*store, ENTRIES, 0, 3, Duration::ZERO).unwrap();
            let loaded = writers::load(&*store, ENTRIES, put.end, Duration::ZERO).unwrap();
            assert_eq!((put.end, loaded.end), (3, 3 + writers::BATCH), "{contender:?}");
            assert!(put.puts_per_second > 0.0 && loaded.puts_per_second > 0.0);
            verify(&*store, ENTRIES, 0..loaded.end).unwrap();
            let beyond = verify(&*store, ENTRIES, [loaded.end]);
            assert!(matches!(beyond, Err(NotKept::Lost { .. })), "{contender:?}: {beyond:?}");
            store.close().unwrap();

            let store = contender.open(&place, durability).unwrap();
            assert_eq!(verify(&*store, ENTRIES, 0..loaded.end).unwrap(), loaded.end, "{contender:?}");
            store.close().unwrap();
        }
    }
}

#[test]
fn the_engine_tells_how_it_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Contender::Kyro.open(dir.path(), Durability::Always).unwrap();
    let put = writers::put(&*store, ENTRIES, 0, 2, Duration::ZERO).unwrap();
    let groups = put.groups.unwrap();
    assert!((1.0..=2.0).contains(&groups.mean), "{groups:?}");
    assert!(groups.per_second > 0.0 && groups.sync_us.unwrap() > 0.0);
}

#[test]
fn no_rival_syncs_within_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Durability::Interval(Duration::from_millis(100));
    assert!(Contender::Kyro.open(dir.path(), interval).is_ok());
    assert!(Contender::Redb.open(dir.path(), interval).is_err());
}

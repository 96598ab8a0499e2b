//! sled: a log-structured tree. `always`: each put is followed by a flush, which waiting callers share; on Linux it ends
//! with `sync_file_range`, which does not make the disk write its cache. `never`: batches stay in the process until it
//! flushes by itself, every half second, its default.

use std::ops::Range;
use std::path::Path;

use kyro_engine::Durability;
use sled::{Batch, Db};

use crate::kv::reads::{self, Answer, Reader, Task, first_word};
use crate::kv::{Entries, Failure, KeyValue};

/// Entries of a batch of sorted input.
const SORTED_BATCH: usize = 1_000;

/// An open database.
pub(super) struct Sled {
    database: Db,
    flushes: bool,
}

impl Sled {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Failure> {
        Ok(Self { database: sled::open(dir)?, flushes: durability == Durability::Always })
    }
}

/// Reads need nothing opened. (A type of its own: `Db` has gets of another kind.)
struct Reads<'a>(&'a Db);

impl Reader for Reads<'_> {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.0.get(key.to_be_bytes())?.map(|value| first_word(&value)))
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        for entry in self.0.range(from.to_be_bytes()..).take(limit) {
            let (key, value) = entry?;
            each(u64::from_be_bytes(key.as_ref().try_into()?), &value);
        }
        Ok(())
    }
}

impl KeyValue for Sled {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        self.database.insert(key.to_be_bytes(), value)?;
        if self.flushes {
            self.database.flush()?;
        }
        Ok(())
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for numbers in batches {
            let mut batch = Batch::default();
            for number in numbers {
                let key = entries.key(number);
                entries.fill(key, &mut value);
                batch.insert(&key.to_be_bytes(), value.as_slice());
            }
            self.database.apply_batch(batch)?;
        }
        Ok(())
    }

    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for keys in keys.chunks(SORTED_BATCH) {
            let mut batch = Batch::default();
            for &key in keys {
                entries.fill(key, &mut value);
                batch.insert(&key.to_be_bytes(), value.as_slice());
            }
            self.database.apply_batch(batch)?;
        }
        self.settle()
    }

    fn settle(&self) -> Result<(), Failure> {
        self.database.flush()?;
        Ok(())
    }

    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure> {
        reads::run(&Reads(&self.database), task)
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        let value = self.database.get(key.to_be_bytes())?;
        Ok(value.map(|value| each(&value)).is_some())
    }

    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        Reads(&self.database).scan(from, limit, &mut |key, value| each(key, value))
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.database.get(key.to_be_bytes())?.map(|value| value.to_vec()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.database.flush()?;
        Ok(())
    }
}

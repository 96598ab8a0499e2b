//! RocksDB: a log-structured merge tree, at its defaults but for a filter of 10 bits a key. `always`: each write is synced,
//! and waiting callers share a sync. `never`: writes go to the operating system's page cache.

use std::ops::Range;
use std::path::Path;

use kyro_engine::Durability;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, CompactOptions, DB, Direction, FlushOptions, IteratorMode,
    Options, WriteBatch, WriteOptions,
};

use crate::kv::reads::{self, Answer, Reader, Task, first_word};
use crate::kv::{Entries, Failure, KeyValue};

/// Entries of a batch of sorted input.
const SORTED_BATCH: usize = 1_000;

/// An open database.
pub(super) struct Rocks {
    database: DB,
    syncs: bool,
}

impl Rocks {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Failure> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        Ok(Self { database: DB::open(&options, dir)?, syncs: durability == Durability::Always })
    }

    fn write(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.syncs);
        options
    }
}

/// Reads need nothing opened.
impl Reader for DB {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.get_pinned(key.to_be_bytes())?.map(|value| first_word(&value)))
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        let start = from.to_be_bytes();
        for entry in self.iterator(IteratorMode::From(&start, Direction::Forward)).take(limit) {
            let (key, value) = entry?;
            each(u64::from_be_bytes(key.as_ref().try_into()?), &value);
        }
        Ok(())
    }
}

impl KeyValue for Rocks {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        Ok(self.database.put_opt(key.to_be_bytes(), value, &self.write())?)
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for numbers in batches {
            let mut batch = WriteBatch::default();
            for number in numbers {
                let key = entries.key(number);
                entries.fill(key, &mut value);
                batch.put(key.to_be_bytes(), &value);
            }
            self.database.write_opt(batch, &self.write())?;
        }
        Ok(())
    }

    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for keys in keys.chunks(SORTED_BATCH) {
            let mut batch = WriteBatch::default();
            for &key in keys {
                entries.fill(key, &mut value);
                batch.put(key.to_be_bytes(), &value);
            }
            self.database.write_opt(batch, &self.write())?;
        }
        self.settle()
    }

    fn settle(&self) -> Result<(), Failure> {
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        self.database.flush_opt(&flush)?;
        let mut compact = CompactOptions::default();
        compact.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.database.compact_range_opt::<&[u8], &[u8]>(None, None, &compact);
        Ok(())
    }

    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure> {
        reads::run(&self.database, task)
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        let value = self.database.get_pinned(key.to_be_bytes())?;
        Ok(value.map(|value| each(&value)).is_some())
    }

    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        Reader::scan(&self.database, from, limit, &mut |key, value| each(key, value))
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.database.get(key.to_be_bytes())?)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.database.flush_wal(true)?)
    }
}

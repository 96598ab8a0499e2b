//! fjall: a log-structured merge tree with a journal. `always`: each put is followed by an fdatasync of the journal.
//! `never`: batches go to the operating system's page cache, fjall's default.

use std::ops::Range;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kyro_engine::Durability;

use crate::kv::reads::{self, Answer, Reader, Task, first_word};
use crate::kv::{Entries, Failure, KeyValue};

/// An open database.
pub(super) struct Fjall {
    database: Database,
    keyspace: Keyspace,
    syncs: bool,
}

impl Fjall {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Failure> {
        let database = Database::builder(dir).open()?;
        let keyspace = database.keyspace("entries", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace, syncs: durability == Durability::Always })
    }
}

/// Reads need nothing opened.
impl Reader for Keyspace {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(Self::get(self, key.to_be_bytes())?.map(|value| first_word(&value)))
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        for guard in self.range(from.to_be_bytes()..).take(limit) {
            let (key, value) = guard.into_inner()?;
            each(u64::from_be_bytes(key.as_ref().try_into()?), &value);
        }
        Ok(())
    }
}

impl KeyValue for Fjall {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        self.keyspace.insert(key.to_be_bytes(), value)?;
        if self.syncs {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for numbers in batches {
            let mut batch = self.database.batch();
            for number in numbers {
                let key = entries.key(number);
                entries.fill(key, &mut value);
                batch.insert(&self.keyspace, key.to_be_bytes(), value.as_slice());
            }
            batch.commit()?;
        }
        Ok(())
    }

    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
        let mut ingestion = self.keyspace.start_ingestion()?;
        let mut value = Vec::with_capacity(entries.value_bytes);
        for &key in keys {
            entries.fill(key, &mut value);
            ingestion.write(key.to_be_bytes(), value.as_slice())?;
        }
        Ok(ingestion.finish()?)
    }

    fn settle(&self) -> Result<(), Failure> {
        self.keyspace.rotate_memtable_and_wait()?;
        Ok(self.keyspace.major_compact()?)
    }

    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure> {
        reads::run(&self.keyspace, task)
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        let value = self.keyspace.get(key.to_be_bytes())?;
        Ok(value.map(|value| each(&value)).is_some())
    }

    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        Reader::scan(&self.keyspace, from, limit, &mut |key, value| each(key, value))
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.keyspace.get(key.to_be_bytes())?.map(|value| value.to_vec()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

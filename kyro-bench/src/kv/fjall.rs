//! fjall: a log-structured merge tree with a journal. `always`: each put is followed by an fdatasync of the journal.
//! `never`: batches go to the operating system's page cache, fjall's default.

use std::ops::Range;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kyro_engine::Durability;

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

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.keyspace.get(key.to_be_bytes())?.map(|value| value.to_vec()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

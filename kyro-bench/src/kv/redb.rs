//! redb: a copy-on-write B-tree in one file. `always`: each transaction is synced. `never`: transactions are not, and
//! live in the process until one is.

use std::ops::Range;
use std::path::Path;

use kyro_engine::Durability;
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};

use crate::kv::reads::{self, Answer, Reader, Task, first_word};
use crate::kv::{Entries, Failure, KeyValue};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

/// An open database.
#[derive(Debug)]
pub(super) struct Redb {
    database: Database,
    durability: redb::Durability,
}

impl Redb {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir)?;
        let durability = match durability {
            Durability::Never => redb::Durability::None,
            _ => redb::Durability::Immediate,
        };
        let redb = Self { database: Database::create(dir.join("redb"))?, durability };
        let transaction = redb.begin()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(redb)
    }

    fn begin(&self) -> Result<WriteTransaction, Failure> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        Ok(transaction)
    }
}

/// A table in a transaction for all reads of a task.
impl Reader for ReadOnlyTable<u64, &'static [u8]> {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(redb::ReadableTable::get(self, key)?.map(|value| first_word(value.value())))
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        for entry in self.range(from..)?.take(limit) {
            let (key, value) = entry?;
            each(key.value(), value.value());
        }
        Ok(())
    }
}

impl KeyValue for Redb {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        let transaction = self.begin()?;
        transaction.open_table(TABLE)?.insert(key, value)?;
        Ok(transaction.commit()?)
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for numbers in batches {
            let transaction = self.begin()?;
            {
                let mut table = transaction.open_table(TABLE)?;
                for number in numbers {
                    let key = entries.key(number);
                    entries.fill(key, &mut value);
                    table.insert(key, value.as_slice())?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            let mut value = Vec::with_capacity(entries.value_bytes);
            for &key in keys {
                entries.fill(key, &mut value);
                table.insert(key, value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn settle(&self) -> Result<(), Failure> {
        // A durable commit takes with it what the ones before left in memory.
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        Ok(transaction.commit()?)
    }

    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure> {
        reads::run(&self.database.begin_read()?.open_table(TABLE)?, task)
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let value = redb::ReadableTable::get(&table, key)?;
        Ok(value.map(|value| each(value.value())).is_some())
    }

    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Reader::scan(&table, from, limit, &mut |key, value| each(key, value))
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(redb::ReadableTable::get(&table, key)?.map(|value| value.value().to_vec()))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

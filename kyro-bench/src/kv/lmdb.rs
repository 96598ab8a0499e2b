//! LMDB by way of heed: a copy-on-write B-tree in a memory map, with integer keys. `always`: each transaction is synced.
//! `never`: transactions are written to the operating system's page cache (`MDB_NOSYNC`).
#![expect(unsafe_code, reason = "heed marks opening a memory map, and its flags, as unsafe")]

use std::ops::Range;
use std::path::Path;

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, U64};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags, RoTxn, WithTls,
};
use kyro_engine::Durability;

use crate::kv::reads::{self, Answer, Reader, Task, first_word};
use crate::kv::{Entries, Failure, KeyValue};

/// Address space for the map, and the most that a database may hold. The file grows with its contents.
const MAP_BYTES: usize = 16 << 30;

type Table = Database<'static, U64<NativeEndian>, Bytes, IntegerComparator>;

/// An open environment and its one database.
pub(super) struct Lmdb {
    environment: Env,
    table: Table,
}

impl Lmdb {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(1);
        if durability == Durability::Never {
            // SAFETY: Without syncs a crash of the machine may damage the file. It is a benchmark's own, and is removed after it.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: The directory is this benchmark's own: nothing else changes the file while it is mapped.
        let environment = unsafe { options.open(dir) }?;
        let transaction = environment.write_txn()?;
        let table = environment
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener
                    .database_options()
                    .types::<U64<NativeEndian>, Bytes>()
                    .key_comparator::<IntegerComparator>()
                    .name("entries")
                    .create(transaction)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self { environment, table })
    }
}

/// A transaction for all reads of a task.
struct Reads<'a> {
    transaction: RoTxn<'a, WithTls>,
    table: Table,
}

impl Reader for Reads<'_> {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.table.get(&self.transaction, &key)?.map(first_word))
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        for entry in self.table.range(&self.transaction, &(from..))?.take(limit) {
            let (key, value) = entry?;
            each(key, value);
        }
        Ok(())
    }
}

impl KeyValue for Lmdb {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        let mut transaction = self.environment.write_txn()?;
        self.table.put(&mut transaction, &key, value)?;
        Ok(transaction.commit()?)
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        for numbers in batches {
            let mut transaction = self.environment.write_txn()?;
            for number in numbers {
                let key = entries.key(number);
                entries.fill(key, &mut value);
                self.table.put(&mut transaction, &key, &value)?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        let mut transaction = self.environment.write_txn()?;
        for &key in keys {
            entries.fill(key, &mut value);
            self.table.put_with_flags(&mut transaction, PutFlags::APPEND, &key, &value)?;
        }
        transaction.commit()?;
        self.settle()
    }

    fn settle(&self) -> Result<(), Failure> {
        Ok(self.environment.force_sync()?)
    }

    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure> {
        reads::run(&Reads { transaction: self.environment.read_txn()?, table: self.table }, task)
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        let transaction = self.environment.read_txn()?;
        Ok(self.table.get(&transaction, &key)?.map(each).is_some())
    }

    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        let reads = Reads { transaction: self.environment.read_txn()?, table: self.table };
        reads.scan(from, limit, &mut |key, value| each(key, value))
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        let transaction = self.environment.read_txn()?;
        Ok(self.table.get(&transaction, &key)?.map(<[u8]>::to_vec))
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.environment.prepare_for_closing().wait();
        Ok(())
    }
}

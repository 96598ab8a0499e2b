//! Key-value stores that promise what kyro-engine promises, behind one interface, and the proof that each keeps what it
//! acknowledged.
//!
//! The libraries come with the feature `rivals-engines`, each at its defaults. What is written is numbered: entry 0,
//! entry 1, …, each with a key that looks random and a value made of its key ([`Entries`]), so that anything written can
//! be read back and compared without keeping a copy.

#[cfg(feature = "rivals-engines")]
mod fjall;
pub mod kyro;
#[cfg(feature = "rivals-engines")]
mod lmdb;
pub mod reads;
#[cfg(feature = "rivals-engines")]
mod redb;
#[cfg(feature = "rivals-rocksdb")]
mod rocksdb;
#[cfg(feature = "rivals-engines")]
mod sled;

use std::ops::Range;
use std::path::Path;

use kyro_engine::Durability;

use crate::kv::reads::{Answer, Task};
use crate::random::mix;

/// Whatever a store says when it fails: each has errors of its own.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A store of u64 keys and byte values. What an acknowledgement means was said when it was opened.
pub trait KeyValue: Send + Sync {
    /// Sets `key` to `value`, and returns when that is acknowledged.
    ///
    /// # Errors
    /// What the store says.
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure>;

    /// Writes the entries of each range in one batch, as fast as one thread can, and returns when all are acknowledged.
    ///
    /// # Errors
    /// What the store says.
    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure>;

    /// Loads an empty store with the values of `keys`, which are strictly increasing, in the fastest way that the store
    /// has for sorted input, and returns when all of them can be read and are on the disk.
    ///
    /// # Errors
    /// What the store says.
    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure>;

    /// Does now whatever the store would do later with what was written: flushes, compactions.
    ///
    /// # Errors
    /// What the store says.
    fn settle(&self) -> Result<(), Failure>;

    /// Runs a reading task on the calling thread.
    ///
    /// # Errors
    /// What the store says.
    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure>;

    /// The value of `key`.
    ///
    /// # Errors
    /// What the store says.
    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure>;

    /// Hands over the value of `key`, as the store lends it: one read by itself, with the transaction or the view that the
    /// store needs for one. False: there is none.
    ///
    /// # Errors
    /// What the store says.
    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure>;

    /// Hands over the entries from `from` on in key order, `limit` at most: one scan by itself.
    ///
    /// # Errors
    /// What the store says.
    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure>;

    /// The engine, of the store that is one.
    fn engine(&self) -> Option<&kyro_engine::Engine> {
        None
    }

    /// What was committed together since the store was opened, if it tells.
    fn commits(&self) -> Option<Commits> {
        None
    }

    /// Closes the store cleanly.
    ///
    /// # Errors
    /// What the store says.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// Counts of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// Groups, each written at once.
    pub groups: u64,
    /// Puts and batches in those groups.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Nanoseconds that the syncs took.
    pub sync_nanos: u64,
}

/// Numbered entries: the same for the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Decides keys and values.
    pub seed: u64,
    /// Length of each value.
    pub value_bytes: usize,
}

impl Entries {
    /// The key of entry `number`: any 64-bit number, another one for every entry.
    pub fn key(self, number: u64) -> u64 {
        mix(number.wrapping_add(mix(self.seed)))
    }

    /// Makes `value` the value of `key`.
    pub fn fill(self, key: u64, value: &mut Vec<u8>) {
        value.clear();
        let mut word = key;
        while value.len() < self.value_bytes {
            word = mix(word.wrapping_add(1));
            let bytes = word.to_le_bytes();
            value.extend_from_slice(&bytes[..bytes.len().min(self.value_bytes - value.len())]);
        }
    }
}

/// A store did not keep what it acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// There is no such key.
    #[error("entry {number} (key {key}) was acknowledged and is not there")]
    Lost {
        /// Which entry.
        number: u64,
        /// Its key.
        key: u64,
    },
    /// There is another value.
    #[error("entry {number} (key {key}) has a value of {found} bytes that is not its {expected} bytes")]
    Changed {
        /// Which entry.
        number: u64,
        /// Its key.
        key: u64,
        /// Length of its value.
        expected: usize,
        /// Length of the value found.
        found: usize,
    },
    /// It cannot be read.
    #[error("entry {number} (key {key}) cannot be read: {source}")]
    Unreadable {
        /// Which entry.
        number: u64,
        /// Its key.
        key: u64,
        /// What the store said.
        source: Failure,
    },
}

/// Reads the entries of `numbers` back and compares. Gives how many there were.
///
/// # Errors
/// The first that is [`NotKept`].
pub fn verify(
    store: &dyn KeyValue,
    entries: Entries,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<u64, NotKept> {
    let mut expected = Vec::new();
    let mut count = 0;
    for number in numbers {
        let key = entries.key(number);
        entries.fill(key, &mut expected);
        match store.get(key) {
            Ok(Some(found)) if found == expected => count += 1,
            Ok(Some(found)) => {
                let (expected, found) = (expected.len(), found.len());
                return Err(NotKept::Changed { number, key, expected, found });
            }
            Ok(None) => return Err(NotKept::Lost { number, key }),
            Err(source) => return Err(NotKept::Unreadable { number, key, source }),
        }
    }
    Ok(count)
}

/// A store that takes part, by the name it has on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[non_exhaustive]
pub enum Contender {
    /// kyro-engine; always takes part.
    Kyro,
    /// redb.
    Redb,
    /// fjall.
    Fjall,
    /// LMDB by way of heed, with integer keys.
    Lmdb,
    /// sled.
    Sled,
    /// RocksDB: a quarter of an hour of C++, so only where it was asked for.
    #[cfg(feature = "rivals-rocksdb")]
    Rocksdb,
}

impl Contender {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kyro => "kyro-engine",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Lmdb => "LMDB",
            Self::Sled => "sled",
            #[cfg(feature = "rivals-rocksdb")]
            Self::Rocksdb => "RocksDB",
        }
    }

    /// The version that is built in, and what it says about concurrent durable puts.
    pub fn terms(self) -> String {
        let (package, durable) = match self {
            Self::Kyro => {
                return "one write and one fdatasync for all that wait (group commit)".to_owned();
            }
            Self::Redb => ("redb", "a transaction for each put, writers take turns; no group commit"),
            Self::Fjall => {
                ("fjall", "insert, then persist(SyncData): an fdatasync for each caller, no group commit")
            }
            Self::Lmdb => (
                "heed",
                "a transaction for each put, writers take turns; no group commit; integer keys, 16 GiB map",
            ),
            Self::Sled => (
                "sled",
                "insert, then flush, which waiting callers share. DOES NOT SYNC: it ends with sync_file_range, which flushes \
                 no disk cache and no metadata, so its figures promise less",
            ),
            #[cfg(feature = "rivals-rocksdb")]
            Self::Rocksdb => ("rocksdb", "writes with sync, which waiting callers share (group commit)"),
        };
        format!("{package} {}: {durable}", locked_version(package))
    }

    /// The version that is built in, how it is loaded with sorted keys, and how it is read.
    pub fn shape(self) -> String {
        let (package, shape) = match self {
            Self::Kyro => {
                return "default options; sorted loads by BulkBuild, random ones by batches of 1,000 and then a compaction; a view for each \
                        read, values \
                        borrowed"
                    .to_owned();
            }
            Self::Redb => (
                "redb",
                "one transaction for a sorted load; one read transaction and table for all reads of a run",
            ),
            Self::Fjall => ("fjall", "sorted loads by ingestion; random ones end with a major compaction"),
            Self::Lmdb => (
                "heed",
                "integer keys; sorted loads with MDB_APPEND in one transaction; one read transaction for all reads of a run",
            ),
            Self::Sled => ("sled", "batches of 1,000; a load ends with a flush, which does not sync"),
            #[cfg(feature = "rivals-rocksdb")]
            Self::Rocksdb => (
                "rocksdb",
                "filter of 10 bits a key; batches of 1,000; a load ends with a flush and a compaction of everything",
            ),
        };
        format!("{package} {}: {shape}", locked_version(package))
    }

    /// True for a store whose acknowledgement survives a power loss, if it says so.
    pub fn syncs(self) -> bool {
        self != Self::Sled
    }

    /// Opens the store in `dir`, or makes one there.
    ///
    /// # Errors
    /// What the store says; that it was not built in; that it has no such mode.
    pub fn open(self, dir: &Path, durability: Durability) -> Result<Box<dyn KeyValue>, Failure> {
        if self != Self::Kyro && matches!(durability, Durability::Interval(_)) {
            return Err("no mode that syncs within a time after the acknowledgement".into());
        }
        match self {
            Self::Kyro => Ok(Box::new(kyro::Kyro::open(dir, durability)?)),
            #[cfg(feature = "rivals-engines")]
            Self::Redb => Ok(Box::new(redb::Redb::open(dir, durability)?)),
            #[cfg(feature = "rivals-engines")]
            Self::Fjall => Ok(Box::new(fjall::Fjall::open(dir, durability)?)),
            #[cfg(feature = "rivals-engines")]
            Self::Lmdb => Ok(Box::new(lmdb::Lmdb::open(dir, durability)?)),
            #[cfg(feature = "rivals-engines")]
            Self::Sled => Ok(Box::new(sled::Sled::open(dir, durability)?)),
            #[cfg(feature = "rivals-rocksdb")]
            Self::Rocksdb => Ok(Box::new(rocksdb::Rocks::open(dir, durability)?)),
            #[cfg(not(feature = "rivals-engines"))]
            _ => Err("not built in: build kyro-bench with the feature rivals-engines".into()),
        }
    }
}

impl Contender {
    /// Makes a store in `dir` that holds the values of `keys`, which are strictly increasing, in the fastest way that it has
    /// for sorted input. On return all of them can be read and are on the disk; later writes are not synced.
    ///
    /// # Errors
    /// What the store says; that it was not built in.
    pub fn build_sorted(
        self,
        dir: &Path,
        entries: Entries,
        keys: &[u64],
    ) -> Result<Box<dyn KeyValue>, Failure> {
        if self == Self::Kyro {
            kyro::build(dir, entries, keys)?;
            return self.open(dir, Durability::Never);
        }
        let store = self.open(dir, Durability::Never)?;
        store.load_sorted(entries, keys)?;
        Ok(store)
    }
}

/// The version of `package` in the workspace's Cargo.lock.
fn locked_version(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let named = format!("name = \"{package}\"\nversion = \"");
    let after = lock.split_once(&named).map(|(_, after)| after);
    after.and_then(|after| after.split('"').next()).unwrap_or("(version unknown)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_differ_and_repeat() {
        let entries = Entries { seed: 7, value_bytes: 13 };
        let mut keys: Vec<u64> = (0..10_000).map(|number| entries.key(number)).collect();
        assert_eq!(keys[77], entries.key(77));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        entries.fill(1, &mut one);
        entries.fill(2, &mut other);
        assert_eq!((one.len(), other.len()), (13, 13));
        assert_ne!(one, other);
        entries.fill(1, &mut other);
        assert_eq!(one, other);
        assert_ne!(entries.key(0), Entries { seed: 8, value_bytes: 13 }.key(0));
    }

    #[test]
    fn versions_are_known() {
        assert!(locked_version("redb").starts_with("4."));
        assert_eq!(locked_version("no such package"), "(version unknown)");
    }
}

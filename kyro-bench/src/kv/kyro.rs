//! kyro-engine.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use kyro_engine::{
    Batch, BulkBuild, BulkOptions, Commit, Durability, Engine, OpenError, Options, Scan, View,
};

use crate::kv::reads::{self, Answer, Reader, Task, first_word};
use crate::kv::{Commits, Entries, Failure, KeyValue};

/// Entries of a batch of sorted input.
const SORTED_BATCH: usize = 1_000;

/// Batches on their way while the next one is made.
const IN_FLIGHT: usize = 8;

/// An open engine.
#[derive(Clone, Debug)]
pub struct Kyro(Engine);

impl Kyro {
    /// Opens it with its default options but for `durability`.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, OpenError> {
        let mut options = Options::default();
        options.durability = durability;
        Ok(Self(Engine::open(dir, options)?))
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0
    }
}

impl From<Engine> for Kyro {
    fn from(engine: Engine) -> Self {
        Self(engine)
    }
}

/// A batch that puts the entries of `numbers`.
pub fn batch(entries: Entries, numbers: Range<u64>) -> Batch {
    let bytes = (numbers.end - numbers.start) as usize * (entries.value_bytes + 16);
    let mut batch = Batch::with_capacity(bytes);
    let mut value = Vec::with_capacity(entries.value_bytes);
    for number in numbers {
        let key = entries.key(number);
        entries.fill(key, &mut value);
        batch.put(key, &value);
    }
    batch
}

/// The engine's own calls: a view for each, values borrowed.
/// Writes batches, so many on their way at a time, and returns when all are committed.
fn write_all(engine: &Engine, batches: impl Iterator<Item = Batch>) -> Result<(), Failure> {
    let mut commits: VecDeque<Commit> = VecDeque::with_capacity(IN_FLIGHT);
    for batch in batches {
        if commits.len() == IN_FLIGHT
            && let Some(oldest) = commits.pop_front()
        {
            oldest.wait()?;
        }
        commits.push_back(engine.write_waiting(batch)?);
    }
    for commit in commits {
        commit.wait()?;
    }
    Ok(())
}

impl Reader for Engine {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.get_with(key, first_word)?)
    }

    fn get_many(&self, keys: &[u64], each: &mut impl FnMut(Option<u64>)) -> Result<(), Failure> {
        Ok(self.mget_with(keys, |_, value| each(value.map(first_word)))?)
    }

    fn scan(&self, from: u64, limit: usize, each: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        let mut entries = self.scan(Scan::range(from..).limit(limit as u64))?;
        Ok(entries.visit(|entry| {
            each(entry.key, entry.value);
            ControlFlow::Continue(())
        })?)
    }
}

/// One view for all reads of a task, values borrowed.
impl Reader for View {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.get_with(key, first_word)?)
    }

    fn scan(&self, _: u64, _: usize, _: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        Err("scans hold one view anyway".into())
    }
}

/// Values that outlive the call: each get counts a reference.
struct Shared<'a>(&'a Engine);

impl Reader for Shared<'_> {
    fn get(&self, key: u64) -> Result<Option<u64>, Failure> {
        Ok(self.0.get(key)?.map(|value| first_word(&value)))
    }

    fn scan(&self, _: u64, _: usize, _: &mut impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        Err("scans borrow".into())
    }
}

/// Another way to read an engine than [`Kyro`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One view for all reads of a task ([`View::get_with`]).
    OneView,
    /// Values that are shared, not borrowed ([`Engine::get`]).
    Shared,
}

impl Way {
    /// Runs a reading task that has no scans.
    ///
    /// # Errors
    /// What the engine says.
    pub fn read(self, engine: &Engine, task: &mut Task<'_>) -> Result<Answer, Failure> {
        match self {
            Self::OneView => reads::run(&engine.view()?, task),
            Self::Shared => reads::run(&Shared(engine), task),
        }
    }
}

/// Makes a database from sorted keys: one run with its index, without a log.
///
/// # Errors
/// What the engine says.
pub(super) fn build(dir: &Path, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
    let mut build = BulkBuild::create(dir, BulkOptions::default())?;
    let mut value = Vec::with_capacity(entries.value_bytes);
    for &key in keys {
        entries.fill(key, &mut value);
        build.push(key, &value)?;
    }
    build.finish()?;
    Ok(())
}

impl KeyValue for Kyro {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        self.0.put(key, value)?;
        Ok(())
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        write_all(&self.0, batches.map(|numbers| batch(entries, numbers)))
    }

    fn load_sorted(&self, entries: Entries, keys: &[u64]) -> Result<(), Failure> {
        let mut value = Vec::with_capacity(entries.value_bytes);
        let batches = keys.chunks(SORTED_BATCH).map(|keys| {
            let mut batch = Batch::with_capacity(keys.len() * (entries.value_bytes + 16));
            for &key in keys {
                entries.fill(key, &mut value);
                batch.put(key, &value);
            }
            batch
        });
        write_all(&self.0, batches)?;
        self.settle()
    }

    fn settle(&self) -> Result<(), Failure> {
        self.0.compact()?;
        Ok(())
    }

    fn read(&self, task: &mut Task<'_>) -> Result<Answer, Failure> {
        reads::run(&self.0, task)
    }

    fn get_with(&self, key: u64, each: &mut dyn FnMut(&[u8])) -> Result<bool, Failure> {
        Ok(self.0.get_with(key, each)?.is_some())
    }

    fn scan_with(&self, from: u64, limit: usize, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Failure> {
        Reader::scan(&self.0, from, limit, &mut |key, value| each(key, value))
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
    }

    fn engine(&self) -> Option<&Engine> {
        Some(&self.0)
    }

    fn commits(&self) -> Option<Commits> {
        let stats = self.0.stats();
        Some(Commits {
            groups: stats.groups,
            writes: stats.group_batches,
            syncs: stats.syncs,
            sync_nanos: u64::try_from(stats.sync_time.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.0.close()?)
    }
}

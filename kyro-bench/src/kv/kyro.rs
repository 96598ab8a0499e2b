//! kyro-engine.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use kyro_engine::{Batch, Commit, Durability, Engine, OpenError, Options};

use crate::kv::{Commits, Entries, Failure, KeyValue};

/// Batches on their way while the next one is made.
const IN_FLIGHT: usize = 8;

/// An open engine.
#[derive(Debug)]
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

impl KeyValue for Kyro {
    fn put(&self, key: u64, value: &[u8]) -> Result<(), Failure> {
        self.0.put(key, value)?;
        Ok(())
    }

    fn load(&self, entries: Entries, batches: &mut dyn Iterator<Item = Range<u64>>) -> Result<(), Failure> {
        let mut commits: VecDeque<Commit> = VecDeque::with_capacity(IN_FLIGHT);
        for numbers in batches {
            let batch = batch(entries, numbers);
            if commits.len() == IN_FLIGHT
                && let Some(oldest) = commits.pop_front()
            {
                oldest.wait()?;
            }
            commits.push_back(self.0.write_waiting(batch)?);
        }
        for commit in commits {
            commit.wait()?;
        }
        Ok(())
    }

    fn get(&self, key: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.0.get(key)?.map(|value| value.to_vec()))
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

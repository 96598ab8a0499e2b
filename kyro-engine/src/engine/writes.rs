//! Writing through the handle.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Engine;
use crate::batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS};
use crate::commit::{self, Commit, Committed};
use crate::conditions::Condition;
use crate::error::WriteError;
use crate::queue::Write;
use crate::range_tombstones;
use crate::shared::Chore;
use crate::stalls::Stall;

/// What one write is to have beyond the engine's mode; see [`Engine::write_with`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Whether the write is acknowledged only when it is on stable storage, whatever the engine's mode. Its group is
    /// synced, and with it everything before. Default false.
    pub sync: bool,
    /// Whether to wait where no more batches may wait, instead of being refused. Default false.
    pub wait: bool,
}

impl WriteOptions {
    /// What [`Engine::write`] does.
    pub const fn new() -> Self {
        Self { sync: false, wait: false }
    }

    /// These, with [`WriteOptions::sync`].
    #[must_use]
    pub const fn sync(self) -> Self {
        Self { sync: true, ..self }
    }

    /// These, with [`WriteOptions::wait`].
    #[must_use]
    pub const fn wait(self) -> Self {
        Self { wait: true, ..self }
    }
}

impl Engine {
    /// Hands a batch to the committer and returns at once.
    ///
    /// # Errors
    /// [`WriteError::Busy`] where no more batches may wait (see [`Engine::write_waiting`]), and whatever else can be
    /// said without the log: too large, empty, poisoned, closed. Everything else comes from the [`Commit`].
    pub fn write(&self, batch: Batch) -> Result<Commit, WriteError> {
        self.write_with(batch, WriteOptions::new())
    }

    /// As [`Engine::write`], but waits where no more batches may wait: for the committer, and for a flush when
    /// recent writes fill four times their memory budget.
    ///
    /// # Errors
    /// As [`Engine::write`]; [`WriteError::Busy`] only where waiting is in vain because no flush will come or
    /// flushes fail.
    pub fn write_waiting(&self, batch: Batch) -> Result<Commit, WriteError> {
        self.write_with(batch, WriteOptions::new().wait())
    }

    /// As [`Engine::write`], with what this one write is to have beyond the engine's mode.
    ///
    /// # Errors
    /// As [`Engine::write`], or as [`Engine::write_waiting`] with [`WriteOptions::wait`].
    pub fn write_with(&self, batch: Batch, options: WriteOptions) -> Result<Commit, WriteError> {
        let (write, commit) = self.admit(batch, options)?;
        let queued = if options.wait {
            self.wait_for_memory().and_then(|()| self.shared.queue.write(write))
        } else if self.shared.is_over_budget() {
            self.shared.queue.stalls.refused(Stall::Memory);
            Err(WriteError::Busy { reason: "recent writes fill the memory budget and wait for a flush" })
        } else {
            self.shared.queue.try_write(write)
        };
        self.count_refused(queued)?;
        Ok(commit)
    }

    /// Writes a batch and waits: as [`Engine::write_waiting`] and then [`Commit::wait`], but where no other write is
    /// under way it is this thread that appends to the log and syncs it, which spares waking the committer's.
    ///
    /// # Errors
    /// As [`Engine::write_waiting`]; only [`WriteError::CommitUnknown`] leaves the outcome open.
    pub fn commit(&self, batch: Batch) -> Result<Committed, WriteError> {
        let (write, commit) = self.admit(batch, WriteOptions::new().wait())?;
        self.count_refused(self.wait_for_memory())?;
        if let Some(write) = self.threads.commit_here(write) {
            self.shared.queue.write(write)?;
        }
        commit.wait()
    }

    fn count_refused(&self, done: Result<(), WriteError>) -> Result<(), WriteError> {
        if matches!(done, Err(WriteError::Busy { .. })) {
            self.shared.commits.refused_busy.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// Sets `key` to `value` and waits until it is durable as the mode promises. Gives the operation's offset.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(&self, key: u64, value: impl AsRef<[u8]>) -> Result<u64, WriteError> {
        let value = value.as_ref();
        let mut batch = Batch::with_capacity(value.len() + 16);
        batch.put(key, value);
        Ok(self.commit(batch)?.first_offset)
    }

    /// Removes `key` and waits. Deleting an absent key takes an offset too.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn delete(&self, key: u64) -> Result<u64, WriteError> {
        let mut batch = Batch::with_capacity(16);
        batch.delete(key);
        Ok(self.commit(batch)?.first_offset)
    }

    /// Sets `key` to `value` if the condition holds, and waits. Gives the operation's offset.
    ///
    /// # Errors
    /// [`WriteError::PreconditionFailed`] says what was found instead; see [`WriteError`] for the others.
    pub fn put_if(&self, key: u64, value: impl AsRef<[u8]>, condition: Condition) -> Result<u64, WriteError> {
        let value = value.as_ref();
        let mut batch = Batch::with_capacity(value.len() + 16);
        batch.put_if(key, value, condition);
        Ok(self.commit(batch)?.first_offset)
    }

    /// Removes `key` if the condition holds, and waits. Gives the operation's offset.
    ///
    /// # Errors
    /// As [`Engine::put_if`].
    pub fn delete_if(&self, key: u64, condition: Condition) -> Result<u64, WriteError> {
        let mut batch = Batch::with_capacity(16);
        batch.delete_if(key, condition);
        Ok(self.commit(batch)?.first_offset)
    }

    /// Removes every key in `keys` and waits: one operation, whatever the range holds. See [`Batch::delete_range`].
    ///
    /// # Errors
    /// See [`WriteError`]; [`WriteError::Busy`] also while so many deleted ranges wait for a compaction that reads would
    /// suffer.
    pub fn delete_range(&self, keys: RangeInclusive<u64>) -> Result<u64, WriteError> {
        let mut batch = Batch::with_capacity(32);
        batch.delete_range(keys);
        Ok(self.commit(batch)?.first_offset)
    }

    /// Adds an event without a key and waits. It stays in the log, and everything after it does, until the database
    /// is removed.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn append(&self, payload: impl AsRef<[u8]>) -> Result<u64, WriteError> {
        let mut batch = Batch::new();
        batch.append(payload);
        Ok(self.commit(batch)?.first_offset)
    }

    /// Waits for a flush when recent writes fill four times their memory budget.
    fn wait_for_memory(&self) -> Result<(), WriteError> {
        let mut stalled = None;
        while self.shared.is_over_budget() {
            stalled.get_or_insert_with(Instant::now);
            self.refuse_unless_writable()?;
            if !self.shared.options.auto_flush || self.shared.health.failure(Chore::Flush).is_some() {
                self.shared.queue.stalls.refused(Stall::Memory);
                let reason = "recent writes fill the memory budget and cannot be flushed";
                return Err(WriteError::Busy { reason });
            }
            self.shared.flusher.ring();
            self.shared.room.wait_while(|| self.shared.is_over_budget());
        }
        if let Some(start) = stalled {
            self.shared.queue.stalls.waited(Stall::Memory, start);
        }
        Ok(())
    }

    /// Checks a batch against the limits, and gives it its commit.
    fn admit(&self, mut batch: Batch, options: WriteOptions) -> Result<(Write, Commit), WriteError> {
        self.refuse_unless_writable()?;
        let too_large = |what, bytes: usize, limit: usize| {
            let (bytes, limit) = (bytes as u64, limit as u64);
            if bytes > limit { Err(WriteError::TooLarge { what, bytes, limit }) } else { Ok(()) }
        };
        too_large("value", batch.largest_value(), self.shared.options.max_value_bytes as usize)?;
        too_large("batch", batch.bytes(), MAX_BATCH_BYTES)?;
        if batch.len() > MAX_BATCH_OPERATIONS {
            let (operations, limit) = (batch.len(), MAX_BATCH_OPERATIONS);
            return Err(WriteError::TooManyOperations { operations, limit });
        }
        if batch.is_empty() {
            return Err(WriteError::EmptyBatch);
        }
        if batch.range_deletes() > 0 {
            self.admit_ranges(batch.range_deletes())?;
        }
        let (promise, commit) = commit::pair(&self.shared.queue.gates);
        let operations = batch.len() as u32;
        let conditions = batch.take_conditions();
        let grows = batch.grows();
        let write = Write {
            payload: batch.into_payload(),
            operations,
            conditions,
            grows,
            sync: options.sync,
            promise,
        };
        Ok((write, commit))
    }

    /// Every read looks into the list of deleted ranges, so it is kept short.
    fn admit_ranges(&self, more: usize) -> Result<(), WriteError> {
        if more > range_tombstones::TOO_MANY {
            return Err(WriteError::TooManyOperations {
                operations: more,
                limit: range_tombstones::TOO_MANY,
            });
        }
        let there = self.shared.views.load().range_tombstones();
        if there >= range_tombstones::MANY {
            self.shared.flusher.ring();
            self.shared.compactor.ring();
        }
        if there + more > range_tombstones::TOO_MANY {
            self.shared.queue.stalls.refused(Stall::Ranges);
            self.shared.commits.refused_busy.fetch_add(1, Ordering::Relaxed);
            let reason = "deleted ranges wait for a compaction that drops what they cover";
            return Err(WriteError::Busy { reason });
        }
        Ok(())
    }

    fn refuse_unless_writable(&self) -> Result<(), WriteError> {
        if self.shared.health.is_closed() {
            return Err(WriteError::Closed);
        }
        match self.shared.health.poisoned() {
            Some(reason) => Err(WriteError::Poisoned { reason }),
            None => Ok(()),
        }
    }
}

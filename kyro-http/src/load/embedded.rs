//! Into a directory: this process opens the database itself and commits whole batches, several at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kyro_engine::{Batch, Commit, Engine, Options};

use super::progress::Counts;
use super::records::Record;
use super::{LoadError, Sink};
use crate::cli::LoadArgs;

/// Batches under way: the log syncs one group while the next are being filled.
const BATCHES_IN_FLIGHT: usize = 8;
/// A batch is sent when it has this size, however few records it holds.
const BATCH_BYTES: usize = 4 << 20;

/// A directory that is opened, and made where it is not there, when the first record comes: a file without any leaves it as
/// it is.
#[derive(Debug)]
pub(super) struct Unopened {
    dir: PathBuf,
    options: Options,
    batch_records: usize,
    counts: Arc<Counts>,
    opened: Option<Directory>,
}

impl Unopened {
    pub(super) fn new(dir: &Path, arguments: &LoadArgs, counts: &Arc<Counts>) -> Self {
        let mut options = Options::default();
        options.durability = arguments.durability;
        options.compression = arguments.compression.compression;
        options.max_value_bytes = arguments.input.max_value_bytes;
        let batch_records = arguments.batch as usize;
        Self { dir: dir.to_owned(), options, batch_records, counts: Arc::clone(counts), opened: None }
    }

    fn opened(&mut self) -> Result<&mut Directory, LoadError> {
        match &mut self.opened {
            Some(directory) => Ok(directory),
            none => Ok(none.insert(Directory {
                engine: Engine::open(&self.dir, self.options.clone())?,
                counts: Arc::clone(&self.counts),
                batch: Batch::new(),
                batch_value_bytes: 0,
                batch_records: self.batch_records,
                in_flight: VecDeque::with_capacity(BATCHES_IN_FLIGHT),
            })),
        }
    }
}

impl Sink for Unopened {
    fn put(&mut self, record: Record) -> Result<(), LoadError> {
        self.opened()?.put(&record)
    }

    fn finish(mut self: Box<Self>) -> Result<(), LoadError> {
        // An empty file is an empty data set: its database is made all the same.
        if self.opened.is_none() && self.counts.bad() == 0 && self.counts.records() == 0 {
            self.opened()?;
        }
        self.opened.map_or(Ok(()), Directory::finish)
    }
}

/// A database opened for loading.
#[derive(Debug)]
struct Directory {
    engine: Engine,
    counts: Arc<Counts>,
    batch: Batch,
    batch_value_bytes: u64,
    batch_records: usize,
    in_flight: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    commit: Commit,
    records: u64,
    value_bytes: u64,
}

impl Directory {
    fn send(&mut self) -> Result<(), LoadError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if self.in_flight.len() >= BATCHES_IN_FLIGHT {
            self.await_oldest()?;
        }
        let batch = std::mem::take(&mut self.batch);
        let (records, value_bytes) = (batch.len() as u64, std::mem::take(&mut self.batch_value_bytes));
        let commit = self.engine.write_waiting(batch)?;
        self.in_flight.push_back(InFlight { commit, records, value_bytes });
        Ok(())
    }

    fn await_oldest(&mut self) -> Result<(), LoadError> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        oldest.commit.wait()?;
        self.counts.acknowledge(oldest.records, oldest.value_bytes);
        Ok(())
    }

    fn put(&mut self, record: &Record) -> Result<(), LoadError> {
        self.batch.put(record.key, &record.value);
        self.batch_value_bytes += record.value.len() as u64;
        if self.batch.len() >= self.batch_records || self.batch.bytes() >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), LoadError> {
        // After a failure the batches that were already under way still count if they were committed.
        let sent = self.send();
        let mut awaited = Ok(());
        while !self.in_flight.is_empty() {
            awaited = awaited.and(self.await_oldest());
        }
        let closed = self.engine.close().map_err(LoadError::from);
        sent.and(awaited).and(closed)
    }
}

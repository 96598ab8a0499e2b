//! Reading history back from the log: past operations in offset order, up to what is visible.

use std::sync::Arc;

use bytes::Bytes;
use kyro_wal::Reader;

use crate::batch::{Operation, Operations, Switch};
use crate::counters::Event as Counted;
use crate::error::ReadError;
use crate::shared::Shared;
use crate::versions::VersionId;

/// One past operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its offset.
    pub offset: u64,
    /// What it did.
    pub op: EventOp,
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventOp {
    /// Set a key.
    Put {
        /// The key.
        key: u64,
        /// Its new value.
        value: Bytes,
    },
    /// Removed a key.
    Delete {
        /// The key.
        key: u64,
    },
    /// Removed every key of a range.
    DeleteRange {
        /// The first key.
        from: u64,
        /// The last key.
        to: u64,
    },
    /// Added an event without a key.
    Append {
        /// The event.
        payload: Bytes,
    },
    /// Made another version the whole content, by [`Engine::push`](crate::Engine::push) or
    /// [`Engine::rollback`](crate::Engine::rollback): what earlier events said of keys no longer holds.
    Version {
        /// The version.
        id: VersionId,
        /// Its label.
        label: String,
    },
    /// Put a data set on top of the content, by [`Engine::ingest`](crate::Engine::ingest): any key may have another value.
    Layer {
        /// Its label.
        label: String,
    },
}

/// Past operations in offset order. Ends at the visible offset or at the given end; iterating again later goes on
/// with what has become visible since. An error is the last thing it gives; start another at
/// [`next_offset`](Replay::next_offset) to try again.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    reader: Option<Reader>,
    /// Offsets below this have been given or were not asked for.
    next: u64,
    end: u64,
    frame: Option<(u64, Operations)>,
    /// The visible offset up to which the reader reads: kept until it is exhausted, since a new one means reading anew.
    bound: u64,
    /// After an error nothing more is given.
    failed: bool,
}

impl Replay {
    pub(crate) fn new(shared: Arc<Shared>, start: u64, end: Option<u64>) -> Result<Self, ReadError> {
        let end = end.unwrap_or(u64::MAX);
        let mut replay =
            Self { shared, reader: None, next: start, end, frame: None, bound: 0, failed: false };
        if start < replay.visible() {
            replay.open()?;
        }
        Ok(replay)
    }

    /// The offset to start at to go on where this replay is.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    fn visible(&self) -> u64 {
        self.end.min(self.shared.visible.next())
    }

    fn open(&mut self) -> Result<(), ReadError> {
        let shared = &self.shared;
        let reader = Reader::open(Arc::clone(&shared.storage), &shared.wal_dir(), shared.uuid, self.next)
            .map_err(|error| read_error(shared, error))?;
        self.reader = Some(reader);
        Ok(())
    }

    /// The next operation of the frame at hand that was asked for.
    fn next_in_frame(&mut self) -> Option<Result<Event, ReadError>> {
        while let Some((offset, operations)) = &mut self.frame {
            let Some(operation) = operations.next() else {
                self.frame = None;
                return None;
            };
            let at = *offset;
            *offset += 1;
            if at < self.next {
                continue;
            }
            if at >= self.end {
                return None;
            }
            self.next = at + 1;
            return Some(operation.map(|operation| Event { offset: at, op: event_op(operation) }).map_err(
                |error| ReadError::Corrupt {
                    file: self.shared.wal_dir(),
                    offset: at,
                    reason: format!("operation {at}: {error}"),
                },
            ));
        }
        None
    }

    /// Reads the next frame that holds something visible and asked for.
    fn advance(&mut self) -> Result<bool, ReadError> {
        if self.next >= self.bound {
            self.bound = self.visible();
        }
        let bound = self.bound;
        if self.next >= bound {
            return Ok(false);
        }
        if self.reader.is_none() {
            self.open()?;
        }
        let Some(reader) = &mut self.reader else { return Ok(false) };
        match reader.next_frame(bound).map_err(|error| read_error(&self.shared, error))? {
            None => {
                // Every frame below the bound has been given: what is missing up to it was never used.
                self.next = bound;
                Ok(self.visible() > bound)
            }
            Some(frame) => {
                let payload = Bytes::copy_from_slice(frame.payload);
                if frame.count > 0 {
                    let operations = Operations::new(payload).map_err(|error| ReadError::Corrupt {
                        file: self.shared.wal_dir(),
                        offset: frame.at,
                        reason: error.to_string(),
                    })?;
                    self.frame = Some((frame.first_offset, operations));
                }
                Ok(true)
            }
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            if let Some(event) = self.next_in_frame() {
                return Some(event);
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn event_op(operation: Operation) -> EventOp {
    match operation {
        Operation::Put { key, value } => EventOp::Put { key, value },
        Operation::Delete { key } => EventOp::Delete { key },
        Operation::DeleteRange { from, to } => EventOp::DeleteRange { from, to },
        Operation::Append { payload } => EventOp::Append { payload },
        Operation::Switch(Switch { version, is_layer, label }) => {
            let label = String::from_utf8_lossy(&label).into_owned();
            if is_layer {
                EventOp::Layer { label }
            } else {
                EventOp::Version { id: VersionId(version), label }
            }
        }
    }
}

fn read_error(shared: &Shared, error: kyro_wal::Error) -> ReadError {
    match error {
        kyro_wal::Error::HistoryGone { oldest, .. } => ReadError::HistoryGone { oldest },
        kyro_wal::Error::Corrupt(damage) => {
            shared.counters.count(Counted::CorruptLog);
            ReadError::Corrupt { file: damage.file.clone(), offset: damage.at, reason: damage.to_string() }
        }
        other => ReadError::Log(Box::new(other)),
    }
}

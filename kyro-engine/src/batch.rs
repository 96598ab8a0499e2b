//! A batch of operations, and its bytes in a log frame.
//!
//! A batch is one frame's payload: it is durable and visible whole or not at all. Payload formats 1 to 3, little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | payload format: 3 where the content is switched, 2 where a range is deleted, otherwise 1 |
//! | … | operations, one after the other |
//!
//! | operation | bytes |
//! |---|---|
//! | put | kind 1 (1) · key (8) · length (4) · value |
//! | delete | kind 2 (1) · key (8) |
//! | append | kind 3 (1) · length (4) · payload |
//! | delete range | kind 4 (1) · first key (8) · last key (8); from format 2 on |
//! | switch | kind 5 (1) · version (8) · 1 where it is a layer (1) · length (4) · label; from format 3 on, alone |
//!
//! The bytes are laid down when the batch is built, on the caller's thread; the committer copies them once, and
//! the values in memory are slices of them.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes};

use crate::conditions::{Condition, Precondition};

/// The newest version of the payload format, and the newest this build reads. A batch is written in the oldest one
/// that can say it, so that an older build reads what it knows and refuses the rest by its number.
pub(crate) const PAYLOAD_FORMAT: u8 = 3;

const FIRST_FORMAT: u8 = 1;
const RANGES_FORMAT: u8 = 2;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const APPEND: u8 = 3;
const DELETE_RANGE: u8 = 4;
const SWITCH: u8 = 5;

/// Operations in one batch, at most: a batch must fit the block of offsets that a log segment reserves.
pub const MAX_BATCH_OPERATIONS: usize = 1 << 20;

/// Bytes of payload in one batch, at most.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// Operations that are committed together: all of them or none, with contiguous offsets, in the order given.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    payload: Vec<u8>,
    operations: usize,
    largest_value: usize,
    /// Whether it holds a put or an event.
    grows: bool,
    /// Checked when the batch is committed; not part of its bytes.
    conditions: Vec<Precondition>,
    range_deletes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `bytes` of keys and values.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { payload: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: u64, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.start(PUT);
        self.payload.put_u64_le(key);
        self.blob(value)
    }

    /// Removes `key`. Deleting an absent key is an operation like any other: it takes an offset.
    pub fn delete(&mut self, key: u64) -> &mut Self {
        self.start(DELETE);
        self.payload.put_u64_le(key);
        self
    }

    /// Sets `key` to `value`, and has the whole batch written only if the condition holds. All conditions of a batch
    /// are checked at once, against the state before the batch; where one fails nothing is written and no offset is
    /// taken ([`WriteError::PreconditionFailed`](crate::WriteError::PreconditionFailed)).
    pub fn put_if(&mut self, key: u64, value: impl AsRef<[u8]>, condition: Condition) -> &mut Self {
        self.require(key, condition);
        self.put(key, value)
    }

    /// Removes `key`, and has the whole batch written only if the condition holds, as with [`Batch::put_if`].
    pub fn delete_if(&mut self, key: u64, condition: Condition) -> &mut Self {
        self.require(key, condition);
        self.delete(key)
    }

    /// Adds an event without a key. It is found again by its offset, with [`Engine::replay`](crate::Engine::replay).
    pub fn append(&mut self, payload: impl AsRef<[u8]>) -> &mut Self {
        self.start(APPEND);
        self.blob(payload.as_ref())
    }

    /// Removes every key in `keys`: one operation with one offset, whatever the range holds. A key that is put later in
    /// the batch, or by a later one, is there again. A range without a key is an operation that removes nothing.
    ///
    /// Costs the size of two keys now, a look at a short list in each read while the range is recent, and no more once
    /// a compaction has dropped what it covers.
    pub fn delete_range(&mut self, keys: RangeInclusive<u64>) -> &mut Self {
        self.start(DELETE_RANGE);
        if let Some(format) = self.payload.first_mut() {
            *format = RANGES_FORMAT;
        }
        self.payload.put_u64_le(*keys.start());
        self.payload.put_u64_le(*keys.end());
        self.range_deletes += 1;
        self
    }

    /// Operations in the batch.
    pub fn len(&self) -> usize {
        self.operations
    }

    /// Whether the batch holds no operation.
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Bytes the batch takes in the log, without the frame's header.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    pub(crate) fn largest_value(&self) -> usize {
        self.largest_value
    }

    /// Whether it adds to what is stored: deletes do not, in the end.
    pub(crate) fn grows(&self) -> bool {
        self.grows
    }

    pub(crate) fn take_conditions(&mut self) -> Vec<Precondition> {
        std::mem::take(&mut self.conditions)
    }

    /// Attaches a condition to the operation that comes next.
    fn require(&mut self, key: u64, expected: Condition) {
        self.conditions.push(Precondition { index: self.operations, key, expected });
    }

    /// Of the operations, those that remove a range.
    pub(crate) fn range_deletes(&self) -> usize {
        self.range_deletes
    }

    pub(crate) fn into_payload(mut self) -> Bytes {
        // Values stay in it until a flush: what it has room for beyond them would not be counted.
        if self.payload.capacity() - self.payload.len() > (self.payload.len() / 8).max(1024) {
            self.payload.shrink_to_fit();
        }
        Bytes::from(self.payload)
    }

    fn start(&mut self, kind: u8) {
        if self.payload.is_empty() {
            self.payload.put_u8(FIRST_FORMAT);
        }
        self.payload.put_u8(kind);
        self.operations += 1;
    }

    fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        // A longer one is refused by `Engine::write` (largest_value), so the truncated length is never written.
        self.payload.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.payload.put_slice(bytes);
        self.largest_value = self.largest_value.max(bytes.len());
        self.grows = true;
        self
    }
}

/// One operation, as read back from a payload. Values are slices of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Put { key: u64, value: Bytes },
    Delete { key: u64 },
    Append { payload: Bytes },
    DeleteRange { from: u64, to: u64 },
    Switch(Switch),
}

/// The operation by which another version becomes the content, or a layer goes on top of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) version: u64,
    pub(crate) is_layer: bool,
    pub(crate) label: Bytes,
}

impl Switch {
    /// A frame's payload with this operation alone.
    pub(crate) fn to_payload(&self) -> Bytes {
        let mut payload = Vec::with_capacity(self.label.len() + 16);
        payload.extend([PAYLOAD_FORMAT, SWITCH]);
        payload.put_u64_le(self.version);
        payload.put_u8(u8::from(self.is_layer));
        payload.put_u32_le(u32::try_from(self.label.len()).unwrap_or(u32::MAX));
        payload.put_slice(&self.label);
        Bytes::from(payload)
    }

    /// The switch that a payload consists of, if it does.
    pub(crate) fn from_payload(payload: &Bytes) -> Option<Self> {
        if payload.first_chunk() != Some(&[PAYLOAD_FORMAT, SWITCH]) {
            return None;
        }
        match Operations::new(payload.clone()).ok()?.next()?.ok()? {
            Operation::Switch(switch) => Some(switch),
            _ => None,
        }
    }
}

/// Why a payload could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("the frame's payload has format {found}, this build reads {PAYLOAD_FORMAT}")]
    NewerFormat { found: u8 },
    #[error("the frame's payload is malformed at its byte {at}: {reason}")]
    Malformed { at: usize, reason: &'static str },
}

/// Where the first operation of a payload ends.
#[cfg(mutant = "split_batch")]
pub(crate) fn first_operation(payload: &Bytes) -> usize {
    let Ok(mut operations) = Operations::new(payload.clone()) else { return payload.len() };
    operations.next();
    operations.at
}

/// Reads the operations of one frame's payload, in order.
#[derive(Debug)]
pub(crate) struct Operations {
    payload: Bytes,
    at: usize,
    format: u8,
}

impl Operations {
    pub(crate) fn new(payload: Bytes) -> Result<Self, PayloadError> {
        match payload.first() {
            Some(&format @ FIRST_FORMAT..=PAYLOAD_FORMAT) => Ok(Self { payload, at: 1, format }),
            Some(&found) if found > PAYLOAD_FORMAT => Err(PayloadError::NewerFormat { found }),
            Some(_) => Err(PayloadError::Malformed { at: 0, reason: "unknown format" }),
            None => Err(PayloadError::Malformed { at: 0, reason: "empty" }),
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Operation, PayloadError> {
        let at = self.at;
        let short = PayloadError::Malformed { at, reason: "cut short" };
        let [kind] = self.take().ok_or(short)?;
        match kind {
            PUT => {
                let key = self.number().ok_or(short)?;
                let value = self.blob().ok_or(short)?;
                Ok(Operation::Put { key, value })
            }
            DELETE => Ok(Operation::Delete { key: self.number().ok_or(short)? }),
            DELETE_RANGE if self.format >= RANGES_FORMAT => {
                let from = self.number().ok_or(short)?;
                let to = self.number().ok_or(short)?;
                Ok(Operation::DeleteRange { from, to })
            }
            APPEND => Ok(Operation::Append { payload: self.blob().ok_or(short)? }),
            // Nothing else is in its frame: it takes effect between frames.
            SWITCH if self.format >= PAYLOAD_FORMAT && at == 1 => {
                let version = self.number().ok_or(short)?;
                let is_layer = match self.take().ok_or(short)? {
                    [0] => false,
                    [1] => true,
                    _ => return Err(PayloadError::Malformed { at, reason: "neither a version nor a layer" }),
                };
                let label = self.blob().ok_or(short)?;
                if self.at < self.payload.len() {
                    return Err(PayloadError::Malformed { at, reason: "a switch is not alone" });
                }
                Ok(Operation::Switch(Switch { version, is_layer, label }))
            }
            _ => Err(PayloadError::Malformed { at, reason: "unknown kind of operation" }),
        }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.payload.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(taken)
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    #[inline]
    fn blob(&mut self) -> Option<Bytes> {
        let len = u32::from_le_bytes(self.take()?) as usize;
        let from = self.at;
        if len > self.payload.len() - from {
            return None;
        }
        self.at += len;
        Some(self.payload.slice(from..from + len))
    }
}

impl Iterator for Operations {
    type Item = Result<Operation, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.payload.len() {
            return None;
        }
        let operation = self.read();
        if operation.is_err() {
            self.at = self.payload.len();
        }
        Some(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut batch = Batch::new();
        batch.put(u64::MAX, b"value").delete(7).append(b"").put(0, b"");
        assert_eq!((batch.len(), batch.largest_value()), (4, 5));
        let read: Result<Vec<_>, _> = Operations::new(batch.into_payload()).unwrap().collect();
        let bytes = Bytes::from_static;
        assert_eq!(
            read.unwrap(),
            [
                Operation::Put { key: u64::MAX, value: bytes(b"value") },
                Operation::Delete { key: 7 },
                Operation::Append { payload: bytes(b"") },
                Operation::Put { key: 0, value: bytes(b"") },
            ]
        );
    }

    #[test]
    fn only_a_range_delete_takes_the_newer_format() {
        let mut batch = Batch::new();
        batch.put(1, b"").delete(2);
        assert_eq!(batch.clone().into_payload()[0], 1);
        batch.delete_range(3..=u64::MAX);
        assert_eq!(batch.range_deletes(), 1);
        let payload = batch.into_payload();
        assert_eq!(payload[0], 2);
        let read: Result<Vec<_>, _> = Operations::new(payload.clone()).unwrap().collect();
        assert_eq!(read.unwrap()[2], Operation::DeleteRange { from: 3, to: u64::MAX });
        let mut older = payload.to_vec();
        older[0] = 1;
        assert!(Operations::new(older.into()).unwrap().any(|operation| operation.is_err()));
        for len in payload.len() - 16..payload.len() {
            assert!(Operations::new(payload.slice(..len)).unwrap().any(|operation| operation.is_err()));
        }
    }

    #[test]
    fn a_switch_is_read_back_and_stands_alone() {
        let switch = Switch { version: u64::MAX, is_layer: true, label: Bytes::from_static(b"nightly") };
        let payload = switch.to_payload();
        assert_eq!(Switch::from_payload(&payload), Some(switch.clone()));
        for len in 1..payload.len() {
            let cut: Result<Vec<_>, PayloadError> =
                Operations::new(payload.slice(..len)).and_then(Iterator::collect);
            assert_eq!(cut.is_ok(), len == 1, "cut at {len}");
        }
        let mut more = payload.to_vec();
        more.extend([DELETE, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Operations::new(more.into()).unwrap().any(|operation| operation.is_err()));
        let mut older = payload.to_vec();
        older[0] = RANGES_FORMAT;
        assert!(Operations::new(older.into()).unwrap().any(|operation| operation.is_err()));
    }

    #[test]
    fn every_cut_and_every_unknown_kind_is_an_error() {
        let mut batch = Batch::new();
        batch.put(1, b"abc").append(b"de");
        let whole = batch.into_payload();
        for len in 0..whole.len() {
            let read: Result<Vec<_>, PayloadError> =
                Operations::new(whole.slice(..len)).and_then(Iterator::collect);
            let boundary = len == 1 || len == 1 + 1 + 8 + 4 + 3;
            assert_eq!(read.is_ok(), boundary, "cut at {len}: {read:?}");
        }
        for kind in (0..=255u8).filter(|kind| !(1..=3).contains(kind)) {
            let payload = Bytes::copy_from_slice(&[FIRST_FORMAT, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert!(Operations::new(payload).unwrap().any(|operation| operation.is_err()));
        }
        assert_eq!(
            Operations::new(Bytes::from_static(&[4, 1])).unwrap_err(),
            PayloadError::NewerFormat { found: 4 }
        );
    }
}

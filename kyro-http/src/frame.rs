//! The binary frame, `application/vnd.kyro.v1+binary`: the exact form of batches, loads, mgets and scans.
//!
//! All integers are little-endian; docs/http.md has the same tables. A frame is one header and its records.
//!
//! | offset | bytes | header |
//! |---:|---:|---|
//! | 0 | 4 | magic `KYF1` |
//! | 4 | 1 | kind: 1 operations, 2 keys, 3 values, 4 entries |
//! | 5 | 3 | zero |
//! | 8 | 8 | number of records; all ones where it is not known: then an end record follows the last one |
//!
//! | offset | bytes | operation (batch, load) |
//! |---:|---:|---|
//! | 0 | 1 | 1 put, 2 delete, 3 append |
//! | 1 | 1 | condition: 0 none, 1 the key is absent, 2 its offset is as below, 3 it is present |
//! | 2 | 2 | zero |
//! | 4 | 4 | length of the value; 0 for a delete |
//! | 8 | 8 | key; 0 for an append |
//! | 16 | 8 | expected offset; 0 unless the condition is 2 |
//! | 24 | length | value |
//!
//! | offset | bytes | key (mget) |
//! |---:|---:|---|
//! | 0 | 8 | key |
//!
//! | offset | bytes | value (answer of mget, in the order of the keys) |
//! |---:|---:|---|
//! | 0 | 4 | length; all ones where the key has no value |
//! | 4 | length | value |
//!
//! | offset | bytes | entry (scan) |
//! |---:|---:|---|
//! | 0 | 1 | 1 with its value, 2 without |
//! | 1 | 3 | zero |
//! | 4 | 4 | length of the value; 0 without |
//! | 8 | 8 | key |
//! | 16 | 8 | offset of the put |
//! | 24 | length | value |
//!
//! | offset | bytes | end record (operations and entries whose number is not known) |
//! |---:|---:|---|
//! | 0 | 1 | zero |
//! | 1 | 1 | 1 where a scan has more: it goes on behind the key below; otherwise 0 |
//! | 2 | 6 | zero |
//! | 8 | 8 | the last key of a scan that has more; otherwise 0 |
//! | 16 | 8 | zero |

use bytes::{Buf, Bytes};
use kyro_engine::Condition;

/// The media type; it names the version.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kyro.v1+binary";
const MAGIC: [u8; 4] = *b"KYF1";
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of an operation before its value, of an entry before its value, and of an end record.
pub(crate) const RECORD_BYTES: usize = 24;
/// The number of records where it is not known, and the length of a value that is not there.
const UNKNOWN: u64 = u64::MAX;
const ABSENT: u32 = u32::MAX;

/// What the records of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Operations = 1,
    Keys = 2,
    Values = 3,
    Entries = 4,
}

/// Why bytes are no frame. No variant carries a key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the frame ends inside record {record}")]
    Short { record: u64 },
    #[error("the frame has no header of 16 bytes that starts with KYF1")]
    NoHeader,
    #[error("the frame is of kind {found}, kind {expected} is needed here")]
    Kind { expected: u8, found: u8 },
    #[error("the bytes that must be zero are not, in {}", record_text(*.record))]
    NotZero { record: Option<u64> },
    #[error("record {record} has the unknown tag {tag}")]
    Tag { record: u64, tag: u8 },
    #[error("record {record} has the unknown condition {condition}")]
    Condition { record: u64, condition: u8 },
    #[error("record {record} has a value of {bytes} bytes, the limit is {limit}")]
    ValueTooLarge { record: u64, bytes: u32, limit: u32 },
    #[error("the frame has more bytes than its {records} records")]
    Trailing { records: u64 },
    #[error("the frame announces {records} records, more than its bytes can hold")]
    TooMany { records: u64 },
}

fn record_text(record: Option<u64>) -> String {
    record.map_or_else(|| "the header".to_owned(), |record| format!("record {record}"))
}

/// One operation of a batch or a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) op: Op,
    /// What has to hold of its key.
    pub(crate) expected: Option<Condition>,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Put { key: u64, value: Bytes },
    Delete { key: u64 },
    Append { payload: Bytes },
}

impl Op {
    /// Bytes of its value.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } | Self::Append { payload: value } => value.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// Writes a frame's header; `records` is `None` where their number is not known.
pub(crate) fn write_header(out: &mut Vec<u8>, kind: Kind, records: Option<u64>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&records.unwrap_or(UNKNOWN).to_le_bytes());
}

/// Writes one value of an answer to mget.
pub(crate) fn write_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(ABSENT, |value| value.len() as u32);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

/// Writes a put without a condition.
pub(crate) fn write_put(out: &mut Vec<u8>, key: u64, value: &[u8]) {
    write_record(out, [1, 0, 0, 0], value.len() as u32, key, 0);
    out.extend_from_slice(value);
}

/// Writes one entry of a scan.
pub(crate) fn write_entry(out: &mut Vec<u8>, key: u64, offset: u64, value: Option<&[u8]>) {
    let tag = if value.is_some() { 1 } else { 2 };
    let value = value.unwrap_or_default();
    write_record(out, [tag, 0, 0, 0], value.len() as u32, key, offset);
    out.extend_from_slice(value);
}

/// Writes the end record; `more` is the last key of a scan that has more.
pub(crate) fn write_end(out: &mut Vec<u8>, more: Option<u64>) {
    write_record(out, [0, u8::from(more.is_some()), 0, 0], 0, more.unwrap_or(0), 0);
}

fn write_record(out: &mut Vec<u8>, tag: [u8; 4], length: u32, key: u64, offset: u64) {
    out.extend_from_slice(&tag);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
}

/// Reads a header of this kind: the number of records, where it is known.
pub(crate) fn read_header(bytes: &mut Bytes, kind: Kind) -> Result<Option<u64>, FrameError> {
    if bytes.len() < HEADER_BYTES || !bytes.starts_with(&MAGIC) {
        return Err(FrameError::NoHeader);
    }
    bytes.advance(MAGIC.len());
    let found = bytes.get_u8();
    if found != kind as u8 {
        return Err(FrameError::Kind { expected: kind as u8, found });
    }
    if [bytes.get_u8(), bytes.get_u8(), bytes.get_u8()] != [0; 3] {
        return Err(FrameError::NotZero { record: None });
    }
    let records = bytes.get_u64_le();
    Ok((records != UNKNOWN).then_some(records))
}

/// What comes next in a frame of operations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Operation(Operation),
    /// The end record.
    End,
    /// So many bytes more are needed to go on.
    Needs(usize),
}

/// Reads the next operation off `bytes`, which may hold only a part of the frame. The value is not copied.
pub(crate) fn read_operation(
    bytes: &mut Bytes,
    record: u64,
    max_value_bytes: u32,
) -> Result<Next, FrameError> {
    let Some(mut head) = bytes.get(..RECORD_BYTES) else {
        return Ok(Next::Needs(RECORD_BYTES - bytes.len()));
    };
    let (tag, condition, zero) = (head.get_u8(), head.get_u8(), head.get_u16_le());
    let (length, key, offset) = (head.get_u32_le(), head.get_u64_le(), head.get_u64_le());
    let not_zero = || FrameError::NotZero { record: Some(record) };
    if tag == 0 {
        if (condition, zero, length, key, offset) != (0, 0, 0, 0, 0) {
            return Err(not_zero());
        }
        bytes.advance(RECORD_BYTES);
        return Ok(Next::End);
    }
    if length > max_value_bytes {
        return Err(FrameError::ValueTooLarge { record, bytes: length, limit: max_value_bytes });
    }
    let expected = match condition {
        0 => None,
        1 => Some(Condition::Absent),
        2 => Some(Condition::Offset(offset)),
        3 => Some(Condition::Present),
        _ => return Err(FrameError::Condition { record, condition }),
    };
    let sound = match tag {
        1 => true,
        2 => length == 0,
        3 => key == 0 && condition == 0,
        _ => return Err(FrameError::Tag { record, tag }),
    };
    if zero != 0 || !sound || (condition != 2 && offset != 0) {
        return Err(not_zero());
    }
    let whole = RECORD_BYTES + length as usize;
    if bytes.len() < whole {
        return Ok(Next::Needs(whole - bytes.len()));
    }
    bytes.advance(RECORD_BYTES);
    let value = bytes.split_to(length as usize);
    let op = match tag {
        1 => Op::Put { key, value },
        2 => Op::Delete { key },
        _ => Op::Append { payload: value },
    };
    Ok(Next::Operation(Operation { op, expected }))
}

/// Reads a whole frame of operations.
pub(crate) fn read_operations(mut bytes: Bytes, max_value_bytes: u32) -> Result<Vec<Operation>, FrameError> {
    let announced = read_header(&mut bytes, Kind::Operations)?;
    let possible = (bytes.len() / RECORD_BYTES) as u64;
    if let Some(records) = announced.filter(|records| *records > possible) {
        return Err(FrameError::TooMany { records });
    }
    let mut operations = Vec::with_capacity(announced.unwrap_or(0) as usize);
    loop {
        let record = operations.len() as u64;
        if announced == Some(record) {
            break;
        }
        match read_operation(&mut bytes, record, max_value_bytes)? {
            Next::Operation(operation) => operations.push(operation),
            Next::End if announced.is_none() => break,
            Next::End => return Err(FrameError::Tag { record, tag: 0 }),
            Next::Needs(_) => return Err(FrameError::Short { record }),
        }
    }
    let records = operations.len() as u64;
    if bytes.is_empty() { Ok(operations) } else { Err(FrameError::Trailing { records }) }
}

/// Reads a whole frame of keys.
pub(crate) fn read_keys(mut bytes: Bytes) -> Result<Vec<u64>, FrameError> {
    let announced = read_header(&mut bytes, Kind::Keys)?;
    let (keys, rest) = bytes.as_chunks::<8>();
    let records = keys.len() as u64;
    if !rest.is_empty() {
        return Err(FrameError::Short { record: records });
    }
    match announced {
        Some(announced) if announced < records => Err(FrameError::Trailing { records: announced }),
        Some(announced) if announced > records => Err(FrameError::TooMany { records: announced }),
        _ => Ok(keys.iter().map(|key| u64::from_le_bytes(*key)).collect()),
    }
}

#[cfg(test)]
mod tests;

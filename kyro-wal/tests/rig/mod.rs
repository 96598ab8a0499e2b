//! What the tests of the log share: small logs on a simulated disk, and reading them back.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kyro_wal::storage::{SimDisk, Storage};
use kyro_wal::{CleanMark, Error, Expected, Identity, Options, Recovery, Tail, Wal};

pub(crate) const UUID: [u8; 16] = *b"a test database!";

/// A frame as it was appended or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) first_offset: u64,
    pub(crate) count: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn dir() -> &'static Path {
    Path::new("/wal")
}

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 16 << 10;
    options.max_payload_bytes = 1 << 20;
    options
}

/// With segments of this size, of which a clean close gives back what it does not need.
pub(crate) fn tight(segment_bytes: u64) -> Options {
    let mut options = options();
    (options.segment_bytes, options.close_slack_bytes) = (segment_bytes, 0);
    options
}

pub(crate) fn identity() -> Identity {
    Identity { uuid: UUID, epoch: 1 }
}

pub(crate) fn expected() -> Expected {
    Expected { uuid: UUID, first_segment: 1, replay_from: 0, clean: None }
}

pub(crate) fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(dir()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

pub(crate) fn shared(disk: &SimDisk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

pub(crate) fn create(disk: &SimDisk) -> Wal {
    Wal::create(shared(disk), dir(), identity(), options()).unwrap()
}

/// A payload that its offset determines: some are all zeros, some long, some empty.
pub(crate) fn payload(offset: u64) -> Vec<u8> {
    let mixed = offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let len = match mixed % 7 {
        0 => 0,
        1 => 8,
        2 => mixed / 7 % 64,
        3 | 4 => mixed / 7 % 300,
        5 => 512 + mixed / 7 % 700,
        _ => 1000 + mixed / 7 % 2000,
    };
    let fill = if mixed.is_multiple_of(5) { 0 } else { offset as u8 | 1 };
    let mut payload = vec![fill; len as usize];
    if fill != 0 {
        for (byte, index) in payload.iter_mut().zip(0_u64..) {
            *byte = byte.wrapping_add((index.wrapping_mul(offset | 1) >> 3) as u8);
        }
    }
    payload
}

pub(crate) fn append(wal: &mut Wal, count: u32) -> Record {
    let payload = payload(wal.next_offset());
    let first_offset = wal.append(count, &payload).unwrap();
    Record { first_offset, count, payload }
}

/// Appends, writes and syncs one frame.
pub(crate) fn commit(wal: &mut Wal) -> Record {
    let record = append(wal, 1);
    wal.write_group().unwrap();
    wal.sync().unwrap();
    record
}

/// Reads a log to its end, without writing.
pub(crate) fn read(recovery: &mut Recovery) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    while let Some(frame) = recovery.next_frame()? {
        records.push(Record {
            first_offset: frame.first_offset,
            count: frame.count,
            payload: frame.payload.to_vec(),
        });
    }
    Ok(records)
}

pub(crate) fn recover(disk: &SimDisk, expected: Expected) -> Result<(Vec<Record>, Wal, Tail), Error> {
    recover_with(disk, expected, options())
}

pub(crate) fn recover_with(
    disk: &SimDisk,
    expected: Expected,
    options: Options,
) -> Result<(Vec<Record>, Wal, Tail), Error> {
    let mut recovery = Recovery::open(shared(disk), dir(), expected, options)?;
    let records = read(&mut recovery)?;
    let (wal, tail) = recovery.finish(1)?;
    Ok((records, wal, tail))
}

pub(crate) fn with_mark(mark: CleanMark) -> Expected {
    Expected { clean: Some(mark), ..expected() }
}

pub(crate) fn segment(number: u64) -> PathBuf {
    dir().join(format!("{number:016x}.wal"))
}

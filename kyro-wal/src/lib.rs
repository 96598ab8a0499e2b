//! A crash-safe, segmented, append-only log, and the storage interface that it and its crash tests run on.

#[cfg(not(unix))]
compile_error!("kyro-wal writes files by position and locks them with the means of Unix");

mod cursor;
mod error;
mod format;
mod log;
mod options;
mod reader;
mod recovery;
mod scan;
mod seal;
mod segment;
mod spare;
pub mod storage;

pub use error::{Corruption, Error};
pub use format::{CHECKSUM_CRC32, FORMAT_VERSION, MAX_FRAME_OFFSETS, MAX_METADATA, SEGMENT_OFFSETS};
pub use log::{LogStats, Payload, Purged, Spare, SpareJob, Synced, Wal, Written};
pub use options::{CleanMark, Expected, Identity, Options};
pub use reader::Reader;
pub use recovery::{Extent, Frame, Recovery, Tail};

//! A crash-safe, segmented, append-only log, and the storage interface that it and its crash tests run on.
//!
//! [`Wal`] writes, [`Recovery`] opens what a run before left, [`Reader`] follows. A *frame* is what one
//! [`append`](Wal::append) wrote: opaque bytes that cover a number of *offsets*, all or nothing. A *group* is the frames
//! written with one write and made durable with one sync. A *segment* is a file of frames, preallocated, with a header
//! and, once sealed, a footer.
//!
//! Invariants: this crate does not know what a payload means; it starts no thread, writes no log line, reads no
//! environment; it goes to the disk only through [`storage::Storage`].
//!
//! The README says what is promised and shows a program; the module documentation of `recovery` has the rule by which
//! damage is told from a torn write, that of `seal` the order of a rotation and why each crash in it recovers, and those
//! of `format` the bytes.

#[cfg(not(unix))]
compile_error!("kyro-wal writes files by position and locks them with the means of Unix");

mod cursor;
mod error;
mod format;
#[cfg(all(feature = "sim", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzz;
pub mod inspect;
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
pub use log::{LogStats, Payload, Purged, Spare, SpareJob, Synced, Wal, Written, remove_spare};
pub use options::{CleanMark, Expected, Identity, Options};
pub use reader::Reader;
pub use recovery::{Extent, Frame, Recovery, Tail};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

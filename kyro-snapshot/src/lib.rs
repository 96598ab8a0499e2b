//! An immutable, checksummed, zero-copy table of `u64` key, `u64` offset and value.
//!
//! A **run** is one file, written once in key order and never modified. [`Writer`] streams it into any
//! [`std::io::Write`]; [`Run`] reads it in place from anything that is [`AsRef<[u8]>`](AsRef): a mapped file, aligned
//! heap memory, or huge pages (see [`Mapping`]). Keys are unique and strictly increasing, so the key column can be
//! handed out as one `&[u64]` for any index to work over. An entry without a value is a tombstone.
//!
//! What holds:
//! - [`Run::open`] costs the same at every size: it checks the header, the footer and the arithmetic between them.
//! - Nothing a checksum has not covered is ever returned: a block of 16 KiB is verified when it is first touched, and
//!   damage is a [`Corrupt`] naming the file position, never a wrong or an empty value.
//! - Values may be compressed ([`Compression::Lz4`]): then [`Run::read`] gives them, from blocks that the caller may keep.
//! - Nothing here syncs, renames or names a file: publishing belongs to the caller.
//!
//! The file, in order, every section aligned to 64 bytes:
//!
//! ```text
//! header · values · keys · offsets · value locators · (value blocks · footer copy ·) block checksums · footer
//! ```
//!
//! Values come first because they are all that is too large to keep in memory while writing; the columns follow because
//! they are complete only at the end; the footer is last so that a file cut short cannot look finished. The byte tables
//! are in the module source `format.rs`, and [`inspect`] prints them for a real file.

#[cfg(target_endian = "big")]
compile_error!("kyro-snapshot reads its little-endian columns in place; this target is big-endian");

pub mod inspect;

mod error;
mod first_touch;
mod format;
mod iter;
mod locator;
mod mapping;
mod packed;
mod presence;
pub mod residency;
mod run;
pub mod salvage;
mod verify;
mod visit;
mod writer;

pub use error::{Corrupt, OpenError, WriteError};
pub use format::{
    BLOCK_BYTES, FORMAT_VERSION, MAX_OFFSET, MAX_RUN_VALUE_BYTES, MAX_VALUE_BYTES, RunInfo, VALUE_BLOCK_BYTES,
};
pub use iter::{Iter, Record, RecordRef};
pub use mapping::Mapping;
pub use packed::{LastBlock, Unpacked, Value, ValueBlocks};
pub use presence::Presence;
pub use run::{Entry, Run, Stamp};
pub use writer::{Compression, MakeScratch, Scratch, Summary, Writer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

//! A crash-safe, segmented, append-only log, and the storage interface that it and its crash tests run on.

#[cfg(not(unix))]
compile_error!("kyro-wal writes files by position and locks them with the means of Unix");

mod error;
mod format;
mod log;
mod options;
mod reader;
mod recovery;
pub mod storage;

pub use error::{Corruption, Error};
pub use log::{LogStats, Payload, Purged, Spare, SpareJob, Synced, Wal, Written};
pub use options::{CleanMark, Expected, Identity, Options};
pub use reader::Reader;
pub use recovery::{Frame, Recovery, Tail};

//! Following a log while it is written.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unused_self,
    clippy::needless_pass_by_value,
    unused_variables,
    reason = "signatures first; the bodies follow"
)]

use std::path::Path;
use std::sync::Arc;

use crate::storage::Storage;
use crate::{Error, Frame};

/// Reads a log from an offset on, also while a [`Wal`](crate::Wal) writes it.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    pub fn open(storage: Arc<dyn Storage>, dir: &Path, uuid: [u8; 16], from: u64) -> Result<Self, Error> {
        Err(Error::io("stub", dir, std::io::Error::other("not written yet")))
    }
    pub fn next_frame(&mut self, before: u64) -> Result<Option<Frame<'_>>, Error> {
        Ok(None)
    }
}

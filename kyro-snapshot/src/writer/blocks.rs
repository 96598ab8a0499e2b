//! Output in whole blocks, each checksummed as it leaves.

use std::io;

use crate::error::WriteError;
use crate::format::{BLOCK_BYTES, block_checksum};

/// Gathers bytes into blocks and passes each on with its checksum noted.
#[derive(Debug)]
pub(super) struct BlockWriter<W> {
    out: W,
    uuid_checksum: u32,
    block: Vec<u8>,
    /// Bytes of whole blocks passed on.
    passed_bytes: u64,
    checksums: Vec<u32>,
}

impl<W: io::Write> BlockWriter<W> {
    pub(super) fn new(out: W, uuid_checksum: u32) -> Self {
        Self {
            out,
            uuid_checksum,
            block: Vec::with_capacity(BLOCK_BYTES),
            passed_bytes: 0,
            checksums: Vec::new(),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.passed_bytes + self.block.len() as u64
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.pass_block()?;
            }
        }
        Ok(())
    }

    /// Passes on the last, shorter block.
    pub(super) fn end_blocks(&mut self) -> Result<(), WriteError> {
        if self.block.is_empty() { Ok(()) } else { self.pass_block() }
    }

    pub(super) fn take_checksums(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.checksums)
    }

    /// Writes what no block checksum covers, flushes, and gives the output back.
    pub(super) fn finish(mut self, end: &[u8]) -> Result<W, WriteError> {
        let position = self.passed_bytes;
        let written = self.out.write_all(end).and_then(|()| self.out.flush());
        written.map_err(|source| WriteError::Io { position, source })?;
        Ok(self.out)
    }

    fn pass_block(&mut self) -> Result<(), WriteError> {
        self.checksums.push(block_checksum(self.uuid_checksum, &self.block));
        let position = self.passed_bytes;
        self.out.write_all(&self.block).map_err(|source| WriteError::Io { position, source })?;
        self.passed_bytes += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
}

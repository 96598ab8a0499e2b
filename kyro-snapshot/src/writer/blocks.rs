//! Output in whole blocks, each checksummed as it leaves, several to a write.

use std::io;

use crate::error::WriteError;
use crate::format::{BLOCK_BYTES, block_checksum};

/// Bytes gathered before they are written.
const PIECE_BYTES: usize = 16 * BLOCK_BYTES;

/// Gathers bytes into blocks and passes them on with their checksums noted.
#[derive(Debug)]
pub(super) struct BlockWriter<W> {
    out: W,
    uuid_checksum: u32,
    piece: Vec<u8>,
    /// Bytes passed on, a whole number of blocks.
    passed_bytes: u64,
    checksums: Vec<u32>,
}

impl<W: io::Write> BlockWriter<W> {
    pub(super) fn new(out: W, uuid_checksum: u32) -> Self {
        Self { out, uuid_checksum, piece: Vec::new(), passed_bytes: 0, checksums: Vec::new() }
    }

    pub(super) fn position(&self) -> u64 {
        self.passed_bytes + self.piece.len() as u64
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.len() < PIECE_BYTES - self.piece.len() {
            self.piece.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_through(bytes)
    }

    fn write_through(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE_BYTES {
                self.pass_piece()?;
            }
        }
        Ok(())
    }

    /// Passes on what is left; its last block may be shorter.
    pub(super) fn end_blocks(&mut self) -> Result<(), WriteError> {
        if self.piece.is_empty() { Ok(()) } else { self.pass_piece() }
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

    fn pass_piece(&mut self) -> Result<(), WriteError> {
        let seed = self.uuid_checksum;
        self.checksums.extend(self.piece.chunks(BLOCK_BYTES).map(|block| block_checksum(seed, block)));
        let position = self.passed_bytes;
        self.out.write_all(&self.piece).map_err(|source| WriteError::Io { position, source })?;
        self.passed_bytes += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

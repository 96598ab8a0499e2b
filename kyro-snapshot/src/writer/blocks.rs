//! Output in whole blocks, each checksummed as it leaves, several to a write.

use std::io;

use crate::error::WriteError;
use crate::format::{BLOCK_BYTES, block_checksum};

/// Bytes gathered before they are written: a huge page, at a multiple of its size in the file. A file system with large
/// folios (ext4 since Linux 6.16, XFS, …) then caches them as one, and the mapped run is read through huge pages, without
/// a copy and with fewer page walks.
const PIECE_BYTES: usize = 128 * BLOCK_BYTES;

/// Bytes gathered before they are checksummed, while they are in the processor's cache.
const BATCH_BYTES: usize = 16 * BLOCK_BYTES;

/// Gathers bytes into blocks and passes them on with their checksums noted.
#[derive(Debug)]
pub(super) struct BlockWriter<W> {
    out: W,
    uuid_checksum: u32,
    piece: Vec<u8>,
    /// Bytes of the piece whose checksums are noted, a multiple of a batch until the blocks end.
    checksummed: usize,
    /// Bytes passed on, a whole number of blocks.
    passed_bytes: u64,
    checksums: Vec<u32>,
}

impl<W: io::Write> BlockWriter<W> {
    pub(super) fn new(out: W, uuid_checksum: u32) -> Self {
        Self { out, uuid_checksum, piece: Vec::new(), checksummed: 0, passed_bytes: 0, checksums: Vec::new() }
    }

    pub(super) fn position(&self) -> u64 {
        self.passed_bytes + self.piece.len() as u64
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.len() < self.batch_end() - self.piece.len() {
            self.piece.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_through(bytes)
    }

    /// Where in the piece the bytes end that are checksummed next.
    #[inline]
    fn batch_end(&self) -> usize {
        self.checksummed + BATCH_BYTES
    }

    fn write_through(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.batch_end() - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == self.batch_end() {
                self.checksum();
            }
            if self.piece.len() == PIECE_BYTES {
                self.pass_piece()?;
            }
        }
        Ok(())
    }

    /// Checksums the blocks that came since the last time.
    fn checksum(&mut self) {
        let (seed, blocks) = (self.uuid_checksum, self.piece[self.checksummed..].chunks(BLOCK_BYTES));
        self.checksums.extend(blocks.map(|block| block_checksum(seed, block)));
        self.checksummed = self.piece.len();
    }

    /// Passes on what is left; its last block may be shorter.
    pub(super) fn end_blocks(&mut self) -> Result<(), WriteError> {
        self.checksum();
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
        let position = self.passed_bytes;
        self.out.write_all(&self.piece).map_err(|source| WriteError::Io { position, source })?;
        self.passed_bytes += self.piece.len() as u64;
        self.piece.clear();
        self.checksummed = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes the length of each write.
    #[derive(Default)]
    struct Lengths(Vec<usize>);

    impl io::Write for Lengths {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_write_but_the_last_is_a_huge_page_at_its_place() {
        let total = 5 * PIECE_BYTES + 3 * BLOCK_BYTES + 7;
        let bytes: Vec<u8> = (0..total).map(|at| ((at * 31) >> 7) as u8).collect();
        for step in [total, 977, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1] {
            // Whatever the pieces come in, the checksums are those of the blocks.
            let mut writer = BlockWriter::new(Lengths::default(), 5);
            bytes.chunks(step).for_each(|chunk| writer.write(chunk).unwrap());
            assert_eq!(writer.position(), total as u64);
            writer.end_blocks().unwrap();
            let expected: Vec<u32> =
                bytes.chunks(BLOCK_BYTES).map(|block| block_checksum(5, block)).collect();
            assert_eq!(writer.take_checksums(), expected, "in steps of {step}");
            let Lengths(lengths) = writer.finish(b"end").unwrap();
            assert_eq!(lengths, [[PIECE_BYTES; 5].as_slice(), &[3 * BLOCK_BYTES + 7, 3]].concat());
        }
    }
}

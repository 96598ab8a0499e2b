//! Compressing values in blocks, as they stream through.

use std::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::column::Column;
use crate::format::{Packed, VALUE_BLOCK_BYTES};
use crate::packed::NOT_COMPRESSED;

/// Gathers values into blocks and packs each that is full.
pub(super) struct Packer {
    /// Values that are not packed yet: less than a block.
    gathered: Vec<u8>,
    packed: Vec<u8>,
    table: CompressTable,
    /// Where each block ends, counted from the start of the values, and whether it is compressed.
    pub(super) ends: Column<u64>,
    stored_bytes: u64,
}

impl fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Packer").field("blocks", &self.ends.len()).finish_non_exhaustive()
    }
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            gathered: Vec::with_capacity(VALUE_BLOCK_BYTES),
            packed: vec![0; get_maximum_output_size(VALUE_BLOCK_BYTES)],
            table: CompressTable::small(),
            ends: Column::default(),
            stored_bytes: 0,
        }
    }

    /// Takes as many bytes as the block has room for; gives the rest.
    pub(super) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(VALUE_BLOCK_BYTES - self.gathered.len()));
        self.gathered.extend_from_slice(now);
        later
    }

    pub(super) fn is_full(&self) -> bool {
        self.gathered.len() == VALUE_BLOCK_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Ends a block and gives its packed bytes to `write`.
    pub(super) fn pack<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        // An error means that the block did not get shorter.
        let len = compress_into_with_table(&self.gathered, &mut self.packed, &mut self.table).ok();
        let (stored, flag) = match len.and_then(|len| self.packed.get(..len)) {
            Some(packed) if packed.len() < self.gathered.len() => (packed, 0),
            _ => (&*self.gathered, NOT_COMPRESSED),
        };
        self.stored_bytes += stored.len() as u64;
        self.ends.push(self.stored_bytes | flag);
        let written = write(stored);
        self.gathered.clear();
        written
    }

    pub(super) fn packed(&self) -> Packed {
        Packed { bytes: self.stored_bytes, blocks: self.ends.len() }
    }
}

//! Reading everything: full verification and warm-up.

use std::ops::ControlFlow;

use zerocopy::IntoBytes;

use crate::error::Corrupt;
use crate::format::{BLOCK_BYTES, FOOTER_BYTES, HEADER_BYTES, MAX_OFFSET, TOMBSTONE};
use crate::residency::touch_pages;
use crate::run::Run;

/// How much is read between two progress reports.
const STEP_BYTES: u64 = 16 << 20;

impl<B: AsRef<[u8]>> Run<B> {
    /// Reads the whole file and checks everything that can be checked: every block against its checksum, the checksums
    /// against theirs, keys strictly increasing, and offsets, locators and counts as the footer says.
    ///
    /// `progress` gets bytes done and bytes in all, at least every 16 MiB and once at the end. Costs one read of the file
    /// and a second one of its columns; where values are compressed, all are unpacked once. Afterwards reads ask for no checksum any more.
    ///
    /// # Errors
    /// [`Corrupt`] for the first damage found. The rest of the run stays readable.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Corrupt> {
        let total = self.layout.file_bytes;
        self.verify_table()?;
        for block in 0..self.layout.blocks {
            let done = block * BLOCK_BYTES as u64;
            if done.is_multiple_of(STEP_BYTES) {
                progress(done, total);
            }
            self.read_block(block)?;
        }
        self.verify_keys()?;
        self.verify_offsets()?;
        self.verify_locators()?;
        self.verify_packed()?;
        self.verify_gaps()?;
        progress(total, total);
        Ok(())
    }

    /// True once every block has been verified, by [`verify`](Self::verify) or by being touched.
    pub fn is_verified(&self) -> bool {
        self.touched.is_complete()
    }

    /// Blocks verified so far, and blocks in all.
    pub fn verified_blocks(&self) -> (u64, u64) {
        (self.touched.verified_blocks(self.layout.blocks), self.layout.blocks)
    }

    /// Touches every page of the file, so that later reads need not wait for the disk, and verifies what has not been
    /// verified yet, so that they need no checksum either. Damage is no error here: the reads that meet it tell.
    ///
    /// `progress` gets bytes done and bytes in all, at least every 16 MiB and once at the end; where it breaks, the
    /// warm-up ends. Returns the bytes touched. Costs one read of the file.
    pub fn warm_up(&self, progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>) -> u64 {
        let total = self.layout.file_bytes;
        for (block, bytes) in self.as_bytes().chunks(BLOCK_BYTES).enumerate() {
            let (block, done) = (block as u64, (block * BLOCK_BYTES) as u64);
            if done.is_multiple_of(STEP_BYTES) && progress(done, total).is_break() {
                return done;
            }
            if block >= self.layout.blocks || self.touched.is_verified(block) {
                touch_pages(bytes);
            } else {
                // A damaged block stays unverified.
                drop(self.read_block(block));
            }
        }
        // Everything is done: there is nothing left to break off.
        let _either = progress(total, total);
        total
    }

    fn verify_table(&self) -> Result<(), Corrupt> {
        let expected = self.footer.table_checksum.get();
        let found = crc32fast::hash(self.block_checksums().as_bytes());
        if expected == found {
            return Ok(());
        }
        Err(Corrupt::Table { position: self.layout.table_at, expected, found })
    }

    fn verify_keys(&self) -> Result<(), Corrupt> {
        let keys = self.keys();
        let contradiction = |index: usize, what| Corrupt::Contradiction {
            position: (self.keys_at + 8 * index) as u64,
            entry: index as u64,
            what,
        };
        if let Some(index) = keys.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(contradiction(index + 1, "the order of the key"));
        }
        let ends = keys.first().copied().zip(keys.last().copied());
        if ends != self.key_range().map(|range| (*range.start(), *range.end())) {
            return Err(contradiction(0, "the range of keys"));
        }
        if crc32fast::hash(keys.as_bytes()) != self.key_checksum() {
            return Err(contradiction(0, "the checksum of the key column"));
        }
        Ok(())
    }

    fn verify_offsets(&self) -> Result<(), Corrupt> {
        let offsets = self.raw_offsets();
        let tombstones = offsets.iter().filter(|&&word| word & TOMBSTONE != 0).count() as u64;
        let least = offsets.iter().map(|word| word & MAX_OFFSET).min();
        let most = offsets.iter().map(|word| word & MAX_OFFSET).max();
        let range = self.offsets().map(|range| (*range.start(), *range.end()));
        if tombstones == self.tombstones() && least.zip(most) == range {
            return Ok(());
        }
        Err(Corrupt::Contradiction { position: self.offsets_at as u64, entry: 0, what: "the offset" })
    }

    /// Values must follow each other without gaps, and the locators must call the same entries tombstones as the offsets.
    fn verify_locators(&self) -> Result<(), Corrupt> {
        let contradiction = |position: usize, entry: usize, what| Corrupt::Contradiction {
            position: position as u64,
            entry: entry as u64,
            what,
        };
        let mut next = self.values_at;
        for (index, word) in self.raw_offsets().iter().enumerate() {
            let value = self.locate(index)?;
            if value.is_none() != (word & TOMBSTONE != 0) {
                return Err(contradiction(self.offsets_at + 8 * index, index, "the tombstone"));
            }
            let Some(value) = value else { continue };
            if value.start != next {
                return Err(contradiction(value.start, index, "the value locator"));
            }
            next = value.end;
        }
        if next as u64 == self.layout.values_at + self.value_bytes {
            return Ok(());
        }
        Err(contradiction(next, self.entries, "the end of the values"))
    }

    /// The copy of the footer is one, but for the checksum of the block checksums, which came after it.
    pub(crate) fn verify_footer_copy(&self) -> Result<(), Corrupt> {
        let position = self.layout.copy_at();
        let mut expected = self.footer.clone();
        expected.table_checksum = 0.into();
        expected.seal();
        let at = position as usize;
        if self.slice_of_file(at..at + FOOTER_BYTES) == expected.as_bytes() {
            return Ok(());
        }
        Err(Corrupt::Contradiction { position, entry: 0, what: "the copy of the footer" })
    }

    /// The gaps between sections are zero.
    fn verify_gaps(&self) -> Result<(), Corrupt> {
        let column = 8 * self.entries;
        let values_end = self.values_at + self.stored_value_bytes() as usize;
        let value_table = self.layout.packed.map_or(0..0, |packed| {
            let end = self.layout.value_table_at + 8 * packed.blocks;
            end as usize..self.layout.copy_at() as usize
        });
        let table_end = self.layout.table_at + 4 * self.layout.blocks;
        debug_assert!(
            self.values_at == HEADER_BYTES
                && self.layout.footer_at + FOOTER_BYTES as u64 == self.layout.file_bytes
        );
        for gap in [
            values_end..self.keys_at,
            self.keys_at + column..self.offsets_at,
            self.offsets_at + column..self.locators_at,
            value_table,
            table_end as usize..self.layout.footer_at as usize,
        ] {
            let position = gap.start as u64;
            if self.slice_of_file(gap).iter().any(|&byte| byte != 0) {
                return Err(Corrupt::Contradiction { position, entry: 0, what: "the padding" });
            }
        }
        Ok(())
    }
}

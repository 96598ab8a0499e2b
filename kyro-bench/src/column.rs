//! The key column that every index of a benchmark searches, in pages of a stated size.

use std::io;

use kyro_snapshot::Mapping;
use zerocopy::{FromBytes, IntoBytes};

use crate::pages::Pages;

/// Sorted keys in pages of one size, aligned to a cache line.
#[derive(Debug)]
pub struct KeyColumn {
    memory: Mapping,
}

impl KeyColumn {
    /// Copies `keys` into pages of the size wanted.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(keys: &[u64], pages: Pages) -> io::Result<Self> {
        let memory = match pages {
            Pages::Small => Mapping::from_bytes(keys.as_bytes().to_vec()),
            Pages::Huge => Mapping::copy_to_huge_pages(keys.as_bytes())?,
        };
        Ok(Self { memory })
    }

    /// The keys.
    #[inline]
    pub fn keys(&self) -> &[u64] {
        // Never empty for another reason than having no keys: a Mapping is aligned, and whole words went in.
        <[u64]>::ref_from_bytes(self.memory.as_ref()).unwrap_or_default()
    }
}

//! kyro-rmi itself.

use kyro_rmi::{BuildError, BuildOptions, Rmi};

use crate::store::Store;

/// kyro-rmi over a borrowed column.
#[derive(Debug)]
pub struct Kyro<'a> {
    keys: &'a [u64],
    index: Rmi,
}

impl<'a> Kyro<'a> {
    /// Builds with default options. The build ends by verifying every key.
    ///
    /// # Errors
    /// As [`Rmi::build`].
    pub fn build(keys: &'a [u64]) -> Result<Self, BuildError> {
        Ok(Self { keys, index: Rmi::build(keys, &BuildOptions::default())? })
    }

    /// The index.
    pub fn index(&self) -> &Rmi {
        &self.index
    }
}

impl Store for Kyro<'_> {
    fn name(&self) -> String {
        "kyro-rmi".into()
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        self.index.find(self.keys, key)
    }

    #[inline]
    fn lower_bound(&self, key: u64) -> Option<usize> {
        Some(self.index.lower_bound(self.keys, key))
    }

    #[inline]
    fn find_batch(&self, keys: &[u64], found: &mut [Option<usize>]) {
        self.index.find_batch(self.keys, keys, found);
    }

    fn index_bytes(&self) -> u64 {
        self.index.stats().bytes
    }
}

//! Three Rust libraries of the PGM kind: pgm-extra, jdb_pgm, pgm_index.

use crate::store::Store;

/// The error bounds that each is tried with.
pub const EPSILONS: [usize; 5] = [16, 32, 64, 128, 512];

/// pgm-extra 1.3: several levels of segments over a borrowed column. Its lower bound of absent keys is wrong now and then
/// (positions are predicted in `f64`), so it is asked only for keys.
#[derive(Debug)]
pub struct PgmExtra<'a> {
    keys: &'a [u64],
    index: pgm_extra::StaticIndex<u64>,
    epsilon: usize,
}

impl<'a> PgmExtra<'a> {
    /// Builds with 4 as the error bound of the upper levels, as its documentation does.
    ///
    /// # Errors
    /// What the library says.
    pub fn build(keys: &'a [u64], epsilon: usize) -> Result<Self, String> {
        let index = pgm_extra::StaticIndex::new(keys, epsilon, 4).map_err(|error| error.to_string())?;
        Ok(Self { keys, index, epsilon })
    }
}

impl Store for PgmExtra<'_> {
    fn name(&self) -> String {
        format!("pgm-extra (ε {})", self.epsilon)
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.index.lower_bound(self.keys, &key);
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, _key: u64) -> Option<usize> {
        None
    }

    fn index_bytes(&self) -> u64 {
        self.index.size_in_bytes() as u64
    }
}

/// jdb_pgm 0.3: one level of segments behind a table, over a borrowed column. Its lower bound is only promised for keys
/// that are there.
#[derive(Debug)]
pub struct JdbPgm<'a> {
    keys: &'a [u64],
    index: jdb_pgm::Pgm<u64>,
}

impl<'a> JdbPgm<'a> {
    /// Builds.
    ///
    /// # Errors
    /// What the library says.
    pub fn build(keys: &'a [u64], epsilon: usize) -> Result<Self, String> {
        Ok(Self { keys, index: jdb_pgm::Pgm::new(keys, epsilon, false).map_err(|error| error.to_string())? })
    }
}

impl Store for JdbPgm<'_> {
    fn name(&self) -> String {
        format!("jdb_pgm (ε {})", self.index.epsilon)
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.index.find_key(key, |index| self.keys.get(index).copied());
        (self.keys.get(place) == Some(&key)).then_some(place)
    }

    #[inline]
    fn lower_bound(&self, _key: u64) -> Option<usize> {
        None
    }

    fn index_bytes(&self) -> u64 {
        self.index.mem_usage() as u64
    }
}

/// pgm_index 0.3: owns its keys; its segments have no proven bound, and version 0.3.2 takes positions within a segment for
/// positions in the column, so that it loses nearly all keys.
#[derive(Debug)]
pub struct PgmIndex {
    index: pgm_index::PGMIndex<u64>,
}

impl PgmIndex {
    /// Copies the keys and builds.
    pub fn build(keys: &[u64], epsilon: usize) -> Self {
        Self { index: pgm_index::PGMIndex::new(keys.to_vec(), epsilon) }
    }
}

impl Store for PgmIndex {
    fn name(&self) -> String {
        format!("pgm_index (ε {})", self.index.epsilon)
    }

    #[inline]
    fn find(&self, key: u64) -> Option<usize> {
        self.index.get(key)
    }

    #[inline]
    fn lower_bound(&self, _key: u64) -> Option<usize> {
        None
    }

    fn index_bytes(&self) -> u64 {
        self.index.memory_usage() as u64 - 8 * self.index.data.len() as u64
    }
}

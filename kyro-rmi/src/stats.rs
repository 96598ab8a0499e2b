//! What an index is like, in plain numbers.

/// How the root spreads keys over cells.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// Cells of equal width.
    Linear,
    /// A fixed number of cells to each power of two of the distance from the smallest key.
    Logarithmic,
    /// No cells: separators over straight segments, for keys that no grid fits.
    Separators,
}

/// What an index is like. Measured by the build over every key, and stored with the index, but for the time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// How many keys the index is over.
    pub keys: u64,
    /// How the root spreads keys over cells.
    pub root: RootKind,
    /// How many cells the root has.
    pub root_cells: u64,
    /// How many keys lie outside the root's grid and are searched among separators.
    pub outliers: u64,
    /// How many intervals predict a position by a straight line (or hold no more than a window).
    pub leaves: u64,
    /// How many keys are found by bounded search among separators instead of a model.
    pub fallback_keys: u64,
    /// How many keys need a further stage after root and leaf.
    pub further_keys: u64,
    /// The distance between a key's predicted position and its position, in keys: the median over all keys.
    pub epsilon_p50: u32,
    /// The same: 99 keys of 100 are at most this far off.
    pub epsilon_p99: u32,
    /// The same: no key is further off (64 stands for 64 or more; the window still holds such a key).
    pub epsilon_max: u32,
    /// The keys in a window, at most: what a lookup searches after the prediction.
    pub max_window: u32,
    /// The most records that a lookup of any key follows.
    pub max_steps: u32,
    /// The encoded size in bytes, header and checksums included.
    pub bytes: u64,
    /// How long the build took, verification of every key included, in nanoseconds. Not stored, so that
    /// the same keys give the same bytes: 0 for an index that was opened, and without feature `std`.
    pub build_nanos: u64,
}

impl Stats {
    /// The size of the index in bits for each key. 0 for no keys.
    pub fn bits_per_key(&self) -> f64 {
        if self.keys == 0 { 0.0 } else { self.bytes as f64 * 8.0 / self.keys as f64 }
    }

    /// The share of keys, from 0 to 1, that are found by bounded search instead of a model.
    pub fn fallback_share(&self) -> f64 {
        if self.keys == 0 { 0.0 } else { self.fallback_keys as f64 / self.keys as f64 }
    }
}

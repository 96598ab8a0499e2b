//! The first model: from a key to a cell, and the fraction of the cell that lies below the key.
//!
//! Both kinds are monotone, exact and injective: what does not go into the cell's number stays in the fraction,
//! to the last bit. So the fraction alone is all that later models need.

/// How the root spreads keys over cells. A key outside `low ..= low + range` is an outlier: the cell after the
/// last holds those below, the one after that those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// The smallest key on the grid.
    pub(crate) low: u64,
    /// How far the largest key on the grid is from `low`.
    pub(crate) range: u64,
    /// How many cells there are, without the two for outliers.
    pub(crate) cells: u64,
    pub(crate) spread: Spread,
}

/// The arithmetic of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Cells of equal width: the high half of (key − low) × `multiplier` is the cell, the low half the fraction.
    Linear { multiplier: u64 },
    /// Cells that double in width: 2^`bits` to each power of two of (key − low). Fits heavy tails.
    Logarithmic { bits: u32 },
}

impl Root {
    /// A grid of `cells` cells of equal width over `low ..= high`. Fewer where there are fewer possible keys.
    pub(crate) fn linear(low: u64, high: u64, cells: u64) -> Self {
        let range = high - low;
        let width = u128::from(range) + 1;
        let cells = u128::from(cells.max(1)).min(width);
        let multiplier = ((cells << 64) / width).min(u128::from(u64::MAX));
        Self { low, range, cells: cells as u64, spread: Spread::Linear { multiplier: multiplier as u64 } }
    }

    /// A grid of 2^`bits` cells to each power of two over `low ..= high`; `None` where the sums would overflow.
    pub(crate) fn logarithmic(low: u64, high: u64, bits: u32) -> Option<Self> {
        let range = high - low;
        range.checked_add(1 << bits)?;
        let mut root = Self { low, range, cells: 1, spread: Spread::Logarithmic { bits } };
        root.cells = root.cell(high).0 + 1;
        Some(root)
    }

    /// The cell of `key` and the fraction of it, in 2^−64, that lies below the key.
    #[inline(always)]
    pub(crate) fn cell(&self, key: u64) -> (u64, u64) {
        let distance = key.wrapping_sub(self.low);
        if distance > self.range {
            return (self.cells + u64::from(key > self.low), 0);
        }
        match self.spread {
            Spread::Linear { multiplier } => multiply(distance, multiplier),
            Spread::Logarithmic { bits } => {
                let shifted = distance.wrapping_add(1 << bits);
                let octave = 63_u32.wrapping_sub((shifted | 1).leading_zeros()).wrapping_sub(bits) & 63;
                let cell =
                    (u64::from(octave) << bits).wrapping_add((shifted >> octave).wrapping_sub(1 << bits));
                (cell, (shifted << 1) << (63 - octave))
            }
        }
    }
}

/// The high and the low half of a product.
#[inline(always)]
pub(crate) fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64, product as u64)
}

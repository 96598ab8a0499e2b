//! One 8-byte record: what to do with the keys of one cell.
//!
//! | bits | leaf | lines | grid | fence |
//! |---|---|---|---|---|
//! | 62–63 | 0 | 1 | 2 | 3 |
//! | 38–61 | number of keys | | | |
//! | 32–61 | | number of lines | number of entries | 1: the root is a leaf |
//! | 0–37 | position of the first key | | | |
//! | 0–31 | | first block | first word | root block |

use crate::model::Place;
use crate::root::multiply;
use core::hint::select_unpredictable;

/// The most keys that one index numbers: positions have 38 bits.
pub(crate) const MOST_KEYS: u64 = (1 << POSITION_BITS) - 1;
/// The most keys in one leaf.
pub(crate) const MOST_IN_LEAF: u64 = (1 << (KIND_SHIFT - POSITION_BITS)) - 1;
/// The most lines or entries that one record spreads over.
pub(crate) const MOST_PARTS: u64 = (1 << (KIND_SHIFT - PART_SHIFT)) - 1;

pub(crate) const POSITION_BITS: u32 = 38;
pub(crate) const PART_SHIFT: u32 = 32;
pub(crate) const KIND_SHIFT: u32 = 62;

/// One record, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The keys lie on one straight line, closely enough.
    Leaf { first: u64, count: u64 },
    /// The cell is cut into `count` equal parts, each with a line of finer parts.
    Lines { first: u64, count: u64 },
    /// The cell is cut into `count` equal parts, each with a record of its own.
    Grid { first: u64, count: u64 },
    /// Nothing linear fits: search among separators.
    Fence { root: u64, leaf: bool },
}

/// What a record says to a key, as bits for a caller that does not branch on its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    /// The low and the high bit of the kind.
    pub(crate) kind: (bool, bool),
    /// Of a fence: whether its root is a leaf.
    pub(crate) leaf: bool,
    /// The word or the block to go on with; 0 where the keys come next.
    pub(crate) record: u64,
    /// How much of what was chosen lies below the key.
    pub(crate) rest: u64,
    /// Where the key belongs, if the keys come next.
    pub(crate) place: Place,
}

impl Entry {
    /// A leaf without keys.
    pub(crate) const NOWHERE: Self = Self(0);

    /// What the record says to a key that lies `fraction` of the way through its cell: what [`kind`](Self::kind)
    /// and the arithmetic for each kind come to, without a branch.
    #[inline(always)]
    pub(crate) fn follow(self, fraction: u64) -> Followed {
        let kind = self.0 >> KIND_SHIFT;
        let parts = self.0 >> PART_SHIFT & MOST_PARTS;
        let keys = self.0 >> POSITION_BITS & MOST_IN_LEAF;
        let count = select_unpredictable(kind == 0, keys, parts);
        let (chosen, rest) = multiply(fraction, count);
        let record = (self.0 & u64::from(u32::MAX)) + select_unpredictable(kind == 3, 0, chosen);
        Followed {
            kind: (kind & 1 != 0, kind >> 1 != 0),
            leaf: parts != 0,
            record: select_unpredictable(kind == 0, 0, record),
            rest,
            place: Place { first: self.0 & MOST_KEYS, count, within: chosen },
        }
    }

    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Leaf { first, count } => {
                debug_assert!(first <= MOST_KEYS && count <= MOST_IN_LEAF);
                Self(count << POSITION_BITS | first)
            }
            Kind::Lines { first, count } => Self::parts(1, first, count),
            Kind::Grid { first, count } => Self::parts(2, first, count),
            Kind::Fence { root, leaf } => Self::parts(3, root, u64::from(leaf)),
        }
    }

    fn parts(kind: u64, first: u64, count: u64) -> Self {
        debug_assert!(first >> PART_SHIFT == 0 && count <= MOST_PARTS);
        Self(kind << KIND_SHIFT | count << PART_SHIFT | first)
    }

    #[inline(always)]
    pub(crate) fn kind(self) -> Kind {
        let first = self.0 & u64::from(u32::MAX);
        let count = self.0 >> PART_SHIFT & MOST_PARTS;
        match self.0 >> KIND_SHIFT {
            0 => Kind::Leaf { first: self.0 & MOST_KEYS, count: self.0 >> POSITION_BITS & MOST_IN_LEAF },
            1 => Kind::Lines { first, count },
            2 => Kind::Grid { first, count },
            _ => Kind::Fence { root: first, leaf: count != 0 },
        }
    }
}

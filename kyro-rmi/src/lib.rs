//! A recursive model index over sorted, distinct `u64` keys.
//!
//! Two models, one after the other: the *root* turns a key into a cell by one multiplication, the cell's *leaf*
//! turns what the multiplication left over into a position. Around the position lies a window of at most
//! [`Stats::max_window`] keys, a few cache lines, that holds the lower bound of **every** key, whether it is in
//! the column or not; one branch-free SIMD count in it gives the exact answer. All arithmetic is on integers and
//! the same code runs at build and at lookup, so no key is ever lost to rounding.
//!
//! ```
//! use kyro_rmi::{BuildOptions, Rmi};
//!
//! let keys: Vec<u64> = (0..100_000).map(|i| i * i).collect();
//! let index = Rmi::build(&keys, &BuildOptions::default())?;
//! assert_eq!(index.find(&keys, 49), Some(7));
//! assert_eq!(index.find(&keys, 50), None);
//! assert_eq!(index.lower_bound(&keys, 50), 8); // the first key that is not smaller
//! # Ok::<(), kyro_rmi::BuildError>(())
//! ```
//!
//! The index does not hold the keys: they stay in a slice of yours, such as a memory-mapped file, and it takes
//! 0.001 to 6 % of their size. It is stored as bytes ([`Rmi::encode`]) that are used in place ([`Rmi::open`]).
//!
//! # A lookup
//!
//! 1. The root: the high half of (key − low) × multiplier is the cell, the low half the *fraction* of the cell
//!    below the key. One multiplication, no division, no search.
//! 2. The cell's record, 8 bytes, says what to do with the fraction. Most often it is multiplied once more, to
//!    choose one of the cell's *lines*: a 64-byte block that says where each of 26 equal parts of its interval
//!    ends, for 2.5 bytes a part. A last multiplication places the key between two such ends.
//! 3. The cache line of that position is searched first; where it does not settle the matter, the line on each
//!    side of it (which are on their way by then), and at last the whole window.
//!
//! Parts and cells too uneven for that have records of their own: a finer grid, further lines, or a tree of
//! separators over straight segments of any length.
//!
//! Keys that are uneven at every scale, such as cells of a map, have no grid at all: a tree of separators over straight
//! segments of the whole column is the root. Its top has 65 children and stays in the first cache, inner nodes have 17,
//! a leaf has 15 segments, and every key takes the same few steps, without a branch that depends on it.
//!
//! # Bounds
//!
//! * The window of every key, present or absent, has at most [`Stats::max_window`] keys: before a build returns, it
//!   checks that the finished records cover the positions in order, and through them each key, the absent keys on both
//!   sides of every border between intervals, and the ends. Predictions are then monotone in the key, so the window
//!   of any absent key is bounded by those of the keys around it.
//! * Whatever the keys are, a lookup follows at most 12 records and ⌈log₈(n / 35)⌉ + 1 nodes of separators (where they
//!   are the root: no record and at most ⌈log₁₇(n / 11,700)⌉ + 2 nodes), then one window: O(log n). [`Stats::max_steps`] says how many the longest one of an index follows.
//! * Damaged bytes, or keys that the index was not built over, cannot give a wrong answer as long as the keys are
//!   sorted: a lower bound at a window's edge is compared with the key beyond it, and the whole column is searched
//!   if need be. [`Probe::mispredicted`] tells, for a counter.
//!
//! # Which models, and why
//!
//! Nothing has to be configured: a build plans a sample of cells under each candidate and keeps what costs least by
//! estimate, in nanoseconds of cache misses and mispredicted branches, with a price on every byte. Compared are
//!
//! | root | is |
//! |---|---|
//! | linear | a grid of one cell, lines of equal width below it: wins on dense and evenly spread keys |
//! | CDF-balanced | a linear grid of 32 to 131,072 cells, each with lines in proportion to its keys: wins on nearly all else |
//! | radix, top bits | the same grid with a multiplier that is a power of two; never better than one that fits the keys' range, so not a kind of its own |
//! | logarithmic | so many cells to each power of two: wins on heavy tails over many powers |
//! | linear spline | a grid of one cell, separators over segments below it: a search a lookup, so it wins only within single cells, where it takes over from grids |
//! | separators | no grid: wins where no grid's cost comes near it, on keys uneven at every scale |
//!
//! Far outliers at either end are trimmed off the grid first and searched among separators, so that one huge key
//! does not flatten it. Within a cell, the leaf's kind and density are chosen the same way.
//!
//! # Memory
//!
//! Keys and index are read wherever they lie. At ten million keys a third of a lookup is address translation with
//! 4 KiB pages: put both into huge pages where you can. [`Rmi::warm_up`] touches every page of an index.
#![no_std]
#![expect(clippy::inline_always, reason = "a lookup is compiled as a whole for each level of instructions")]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod aligned;
mod batch;
mod column;
mod direct;
mod entry;
mod error;
mod fence;
mod format;
mod group;
mod leaf;
mod line;
mod model;
mod options;
mod rmi;
mod root;
mod stats;
mod train;
mod tree;
mod verify;

pub use aligned::AlignedBytes;
pub use column::Column;
pub use error::{BuildError, OpenError, VerifyError};
pub use options::BuildOptions;
pub use rmi::{Probe, Rmi};
pub use stats::{RootKind, Stats};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

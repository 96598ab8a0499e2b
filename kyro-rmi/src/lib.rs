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
//! 0.01 to 6 % of their size. It is stored as bytes ([`Rmi::encode`]) that are used in place ([`Rmi::open`]).
#![no_std]
#![expect(clippy::inline_always, reason = "a lookup is compiled as a whole for each level of instructions")]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod aligned;
mod batch;
mod column;
mod entry;
mod error;
mod fence;
mod format;
mod line;
mod model;
mod options;
mod rmi;
mod root;
mod stats;
mod train;
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

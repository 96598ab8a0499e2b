//! Everything that answers the same question as kyro-rmi: where is this key in a sorted column?
//!
//! What needs no library is here in short, written for speed: binary searches, interpolation, Eytzinger, a static B-tree
//! with SIMD nodes, the standard library's `BTreeMap`. Libraries come with the feature `rivals-index`: hashbrown,
//! pgm-extra, jdb_pgm, pgm_index, radix_spline. Those with a parameter get the best of several for the data at hand.

pub mod binary;
pub mod eytzinger;
pub mod interpolation;
pub mod kyro;
pub mod static_tree;
pub mod tree_map;

#[cfg(feature = "rivals-index")]
pub mod hash;
#[cfg(feature = "rivals-index")]
pub mod pgm;
#[cfg(feature = "rivals-index")]
pub mod spline;

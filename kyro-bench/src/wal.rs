//! The benchmark of the durable write path: how many writes a second are on the disk when they are acknowledged, beside
//! what the disk itself can do and what other stores make of it, and how long opening takes after an unclean stop.
//!
//! The disk's rate drifts tenfold between hours. So the raw rates are measured before and after every figure of
//! kyro-engine, all contenders take turns in every repeat, and every ratio is of two figures of one repeat.
//! What is acknowledged is read back before its figure counts, and once more after the store was closed and opened again.

mod puts;
pub mod raw;
pub mod recovery;
mod restarts;
mod results;
mod run;
pub mod tail;
mod targets;
pub mod writers;

pub use results::{DiskRow, Mode, OpenRow, PutsRow, ReplayRow, Results};
pub use run::{Part, Plan, WalBenchError, run};

//! The benchmark of the engine: gets, scans, loads, disk space and reopening beside other stores and beside what the
//! memory itself allows, and reads while the engine is busy with writes and compactions.
//!
//! All stores of a size are loaded with the same records and open at once, and take turns in every repeat. Every answer
//! of a sample is compared before anything is timed, and the sum of what every timed run read is compared after it.

mod asked;
mod busy;
mod cell;
mod compressed;
pub mod floor;
mod loads;
pub(crate) mod measure;
mod results;
mod run;
pub(crate) mod space;
mod targets;

pub use busy::{BusyRow, Latency};
pub use compressed::CompressedRow;
pub use measure::Measure;
pub use results::{Results, Row, Size};
pub use run::{EngineBenchError, Part, Plan, run};

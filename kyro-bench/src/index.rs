//! The index benchmark: how long it takes to find where a key is in a sorted column, and what the index costs.
//!
//! For every key set, all contenders are built, then verified on every key that will be looked up, then timed in turn:
//! each repeat times every contender in every [pattern](Pattern), starting with another one each time.

mod build;
mod lookups;
mod pattern;
mod results;
mod run;
mod targets;

pub use build::Contender;
pub use lookups::Lookups;
pub use pattern::Pattern;
pub use results::{BuildFigures, ContenderResult, KyroFigures, Results, SetResult};
pub use run::{BenchError, Plan, Source, run};

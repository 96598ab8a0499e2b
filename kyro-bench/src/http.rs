//! The benchmark of the server, and the workload client: raw HTTP/1.1 connections, every answer checked.

pub mod bare;
pub mod client;
pub mod process;
pub mod response;
mod results;
mod run;
pub mod source;
pub mod switch;
mod targets;
mod watched;
pub mod workload;

pub use results::{IdleRow, Latencies, OpenLoopRow, PutsRow, RateRow, Results};
pub use run::{HttpBenchError, Plan, run};

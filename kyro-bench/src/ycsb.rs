//! The YCSB workloads A to F over every store: what a mix of reads, updates, inserts and scans comes to, with the memory,
//! the disk and the bytes written that it takes.
//!
//! Every store runs in a process of its own, so that its memory and its writes are its own, and so that one that crashes is
//! listed and the others go on. All are loaded with the same records in the same random order, and take turns: each repeat of
//! each workload is run by every store before the next begins, starting with another one each time. A store's turn begins
//! when the process of the one before has come to rest.
//!
//! Every value that is read is checked: it says of which key it is and which of its versions, and with one thread it must be
//! the version that was written last. After the runs each store is closed, opened again and compared with what it
//! acknowledged.

mod child;
mod contestant;
mod results;
mod run;
mod values;
mod workload;

pub use child::{COMMAND, ChildPlan, serve};
pub use results::{Latency, ResourceRow, Results, Row};
pub use run::{Plan, RivalsError, run};
pub use workload::{Mode, Workload};

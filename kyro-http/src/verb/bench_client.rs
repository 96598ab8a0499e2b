//! `kyro-http bench-client`: where the load generator is.

use super::output;
use crate::exit::Exit;
use crate::store::StoreError;

const TEXT: &str = "\
The load generator is a program of its own, kyro-bench, in the same repository:

  cargo run --release -p kyro-bench -- workload --help  a running server under load: rates and latencies
  cargo run --release -p kyro-bench -- http --help      a server that it starts, beside bare hyper
  cargo run --release -p kyro-bench -- switch --help    reads through push and rollback
  cargo run --release -p kyro-bench -- engine --help    the engine as a library, beside other engines
  cargo run --release -p kyro-bench -- index --help     the learned index, beside other indexes
  cargo run --release -p kyro-bench -- wal --help       the log, beside raw writes

A server limits each client address to 5000 requests a second: start it with KYRODB_RL_DATA_RPS=0 to measure it.";

pub(crate) fn run() -> Result<Exit, StoreError> {
    output::line(TEXT)?;
    Ok(Exit::Done)
}

//! The command, run as a person runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

/// Runs kyro-bench to its end.
pub(crate) fn kyro_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kyro-bench")).args(arguments).output().unwrap()
}

/// What it wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

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

/// A processor that this process may use: where others are taken away from it, the first may be.
#[allow(dead_code, reason = "each test binary uses its own part of this module")]
pub(crate) fn a_processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    list.split(['-', ',']).next().unwrap().to_owned()
}

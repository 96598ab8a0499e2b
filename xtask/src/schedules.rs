//! `cargo xtask schedules`: the interleavings of the engine's own threads, tried one after the other.

use crate::{Outcome, tree};

/// Builds the engine's library tests with the primitives of shuttle and runs `--schedules` (100,000) of each.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let schedules = match arguments {
        [] => "100000",
        [option, number] if option == "--schedules" && number.parse::<u64>().is_ok() => number,
        _ => return Err("the only option is --schedules, with a number".into()),
    };
    let mut cargo = tree::cargo();
    cargo.env("RUSTFLAGS", "--cfg shuttle").env("KYRO_SCHEDULES", schedules);
    // A directory of its own: other flags would rebuild everything, and again without them.
    cargo.args(["test", "-p", "kyro-engine", "--lib", "--target-dir", "target/shuttle", "schedules::"]);
    let status = cargo.status()?;
    if status.success() { Ok(()) } else { Err(format!("the schedules ended with {status}").into()) }
}

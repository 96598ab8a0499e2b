//! `cargo xtask bench`: kyro-bench in its optimised build.

use crate::{Outcome, tree};

/// Runs kyro-bench with `arguments`, unchanged, and its own standard streams.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let status =
        tree::cargo().args(["run", "--release", "-p", "kyro-bench", "--"]).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("kyro-bench ended with {status}").into()) }
}

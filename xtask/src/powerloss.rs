//! `cargo xtask powerloss`: power cuts on a real file system over a recorded block device.
//!
//! What records is a workspace of its own, `xtask/powerloss`, because it needs FUSE: it skips, with the reason, where
//! there is none.

use crate::{Outcome, tree};

/// Builds the campaign and runs it with `arguments`, unchanged.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut cargo = tree::cargo();
    cargo.args(["run", "--quiet", "--manifest-path", "xtask/powerloss/Cargo.toml"]);
    let status = cargo.args(["--target-dir", "target/powerloss", "--"]).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("the campaign ended with {status}").into()) }
}

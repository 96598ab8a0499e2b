//! `cargo xtask asan`: the tests of the crates that hold unsafe code, with every access to memory checked.

use crate::fuzz::TRIPLE;
use crate::{Outcome, tree};

/// The crates with unsafe code, and the one whose lookups lean on it; which tests of each.
const CRATES: &[(&str, &[&str])] = &[
    ("kyro-simd", &["--lib", "--tests"]),
    ("kyro-rmi", &["--lib", "--tests"]),
    ("kyro-snapshot", &["--lib", "--tests"]),
    // What readers hold while a view is replaced: one file of the crate.
    ("kyro-engine", &["--lib", "--test", "views", "--test", "reads"]),
];

/// Runs the tests of the unsafe crates under AddressSanitizer.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    crate::refuse_arguments(arguments)?;
    for (krate, tests) in CRATES {
        println!("asan: {krate}");
        let status = tree::cargo()
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            // A directory of its own: other flags would rebuild everything, and again without them.
            .args(["test", "-p", krate, "--target", TRIPLE, "--target-dir", "target/asan"])
            .args(*tests)
            .status()?;
        if !status.success() {
            return Err(format!("the tests of {krate} ended with {status} under AddressSanitizer").into());
        }
    }
    Ok(())
}

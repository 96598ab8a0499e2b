//! `cargo xtask asan`: the tests of the crates that hold unsafe code, with every access to memory checked.

use crate::fuzz::TRIPLE;
use crate::{Outcome, tree};

/// The crates with unsafe code, and the one whose lookups lean on it.
const CRATES: &[&str] = &["kyro-simd", "kyro-rmi", "kyro-snapshot"];

/// Runs the library's and the integration tests of the unsafe crates under AddressSanitizer.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    crate::refuse_arguments(arguments)?;
    for krate in CRATES {
        println!("asan: {krate}");
        let status = tree::cargo()
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", "-Zsanitizer=address")
            // A directory of its own: other flags would rebuild everything, and again without them.
            .args([
                "test",
                "-p",
                krate,
                "--lib",
                "--tests",
                "--target",
                TRIPLE,
                "--target-dir",
                "target/asan",
            ])
            .status()?;
        if !status.success() {
            return Err(format!("the tests of {krate} ended with {status} under AddressSanitizer").into());
        }
    }
    Ok(())
}

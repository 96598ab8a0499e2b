//! `cargo xtask neon`: kyro-simd and kyro-rmi for processors other than the one at hand.
//!
//! The NEON kernel and everything over it are linted and tested for aarch64, in an emulator where the processor is
//! another one; and both crates are checked without `std` for bare targets, one of them of 32 bits, where
//! the portable kernel is all there is.

use std::io;
use std::process::{Command, Stdio};

use crate::{Outcome, tree};

/// What the tests are built for.
const TRIPLE: &str = "aarch64-unknown-linux-gnu";
/// Targets without an operating system.
const BARE: &[&str] = &["aarch64-unknown-none", "x86_64-unknown-none", "thumbv7em-none-eabi"];
/// The crates whose code depends on the processor.
const CRATES: &[&str] = &["-p", "kyro-simd", "-p", "kyro-rmi"];
/// A program that links for aarch64, and one that runs what it linked.
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// Where the emulated programs find their C library.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// Checks, lints and tests.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    crate::refuse_arguments(arguments)?;
    let native = cfg!(all(target_arch = "aarch64", target_os = "linux"));
    let wanted: &[&str] = if native { &[] } else { &[LINKER, EMULATOR] };
    let missing: Vec<&str> = wanted.iter().copied().filter(|program| !is_installed(program)).collect();
    if let Some(advice) = advice(&missing) {
        return Err(advice.into());
    }
    let targets: Vec<&str> = BARE.iter().copied().chain([TRIPLE]).collect();
    let added = Command::new("rustup").args(["--quiet", "target", "add"]).args(&targets).status();
    match added {
        Ok(status) if status.success() => {}
        // Another way of installing Rust brings its targets along, or cargo says which one is not there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(status) => {
            return Err(format!("rustup target add {} ended with {status}", targets.join(" ")).into());
        }
        Err(error) => return Err(format!("rustup cannot be run: {error}").into()),
    }
    for bare in BARE {
        println!("neon: without std for {bare}");
        cargo(&["clippy", "--target", bare, "--no-default-features"], &["--", "-D", "warnings"], native)?;
    }
    println!("neon: tests for {TRIPLE}{}", if native { "" } else { ", emulated" });
    cargo(&["clippy", "--target", TRIPLE, "--all-targets"], &["--", "-D", "warnings"], native)?;
    cargo(&["test", "--target", TRIPLE, "--lib", "--tests", "--examples"], &[], native)
}

/// Runs cargo over the crates.
fn cargo(before: &[&str], after: &[&str], native: bool) -> Outcome {
    let mut cargo = tree::cargo();
    if !native {
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{EMULATOR} -L {SYSROOT}"));
    }
    let status = cargo.args(before).args(CRATES).args(after).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} {} ended with {status}", before.join(" "), CRATES.join(" ")).into())
    }
}

/// Whether a program of this name starts.
fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What to install for the programs that are missing; nothing if none is.
fn advice(missing: &[&str]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "{} not installed, so nothing was tested; on Debian and Ubuntu: apt-get install qemu-user gcc-aarch64-linux-gnu \
         libc6-dev-arm64-cross",
        missing.join(" and ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_named_with_the_packages_that_have_them() {
        assert_eq!(advice(&[]), None);
        let text = advice(&[LINKER, EMULATOR]).unwrap();
        assert!(text.starts_with("aarch64-linux-gnu-gcc and qemu-aarch64 not installed"), "{text}");
        assert!(
            text.contains("apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_not_installed() {
        assert!(!is_installed("kyro-no-such-program"));
        assert!(is_installed("rustc"));
    }
}

//! `cargo xtask instructions`: how many instructions the hot paths take, against limits that are kept here.
//!
//! Time differs from hour to hour; instructions do not, so a limit may be close. kyro-bench runs a path ten thousand times and
//! callgrind counts what happens inside of that loop. valgrind is called directly, not through gungraun: that needs a runner
//! of its own version to be compiled and installed first, and adds a benchmark harness to every build of the tests.
//!
//! valgrind knows no AVX-512, so what is counted is the AVX2 path.
#![expect(clippy::print_stdout, reason = "figures for the person who runs the chore")]

use std::process::Command;

use crate::{Outcome, tree};

/// The most instructions that one step of a path may take: a tenth more than it took when the limit was set.
const LIMITS: &[(&str, f64)] =
    &[("get-hit", 560.0), ("get-miss", 550.0), ("delta-hit", 360.0), ("frame-encode", 215.0)];

/// The function of kyro-bench in which instructions are counted, and how often it takes a step.
const COUNTED: &str = "*instructions*counted*";
const STEPS: f64 = 10_000.0;

/// Counts every path, or those named, and compares.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let Some(unknown) = arguments.iter().find(|name| !LIMITS.iter().any(|(path, _)| path == name)) {
        let paths: Vec<&str> = LIMITS.iter().map(|(path, _)| *path).collect();
        return Err(format!("there is no path {unknown:?}; there are {}", paths.join(", ")).into());
    }
    let version = Command::new("valgrind").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: valgrind is not installed (Debian: apt-get install valgrind); nothing was counted"
        );
        return Ok(());
    }
    let built = tree::cargo().args(["build", "--release", "-p", "kyro-bench"]).status()?;
    if !built.success() {
        return Err(format!("kyro-bench was not built: {built}").into());
    }
    let mut worse = Vec::new();
    for (path, limit) in
        LIMITS.iter().filter(|(path, _)| arguments.is_empty() || arguments.iter().any(|one| one == path))
    {
        let each = count(path)? / STEPS;
        let verdict = if each > *limit { "TOO MANY" } else { "" };
        println!("{path:<14} {each:>9.1} instructions, at most {limit:>7.0} {verdict}");
        if each > *limit {
            worse.push(format!("{path} takes {each:.1} instructions, the limit is {limit}"));
        }
    }
    if worse.is_empty() { Ok(()) } else { Err(worse.join("; ").into()) }
}

/// Instructions of all steps of a path.
fn count(path: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::root().join("target"), Into::into);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(target.join("release/kyro-bench"))
        .args(["instructions", path])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{path} failed under valgrind ({}):\n{said}", output.status).into());
    }
    collected(&said).ok_or_else(|| format!("valgrind counted nothing of {path}:\n{said}").into())
}

/// The number in a line such as `==1== Collected : 123456`.
fn collected(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("Collected : "))?;
    let count = line.rsplit(": ").next()?.split_whitespace().next()?.parse::<f64>().ok()?;
    (count > 0.0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_valgrind_says_is_read() {
        let said =
            "==1== Events    : Ir\n==1== Collected : 1234567\n==1== \n==1== I   refs:      1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567.0));
        assert_eq!(collected("==1== Collected : 0\n"), None);
        assert_eq!(collected("valgrind: failed"), None);
    }

    #[test]
    fn unknown_paths_are_named_and_every_limit_is_set() {
        let error = run(&["get-all".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("get-all") && error.contains("delta-hit"), "{error}");
        assert!(LIMITS.iter().all(|(_, limit)| *limit > 0.0));
    }
}

//! Tells the binary which commit and compiler it was built from. Works without git and outside a checkout.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=KYRODB_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // The log of HEAD grows with each commit and each switch of branch.
    for file in ["../.git/logs/HEAD", ".cargo_vcs_info.json"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    let commit =
        from_environment().or_else(from_package).or_else(from_git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=KYRODB_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=KYRODB_BUILD_RUSTC={}", rustc().unwrap_or_else(|| "unknown".to_owned()));
}

fn from_environment() -> Option<String> {
    std::env::var("KYRODB_COMMIT").ok().as_deref().and_then(clean)
}

fn from_git() -> Option<String> {
    output("git", &["rev-parse", "--short=12", "HEAD"]).as_deref().and_then(clean)
}

/// `cargo package` leaves the commit in the package.
fn from_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let after = text.split("\"sha1\"").nth(1)?;
    after.split('"').nth(1).and_then(clean)
}

fn clean(commit: &str) -> Option<String> {
    let commit = commit.trim();
    let valid =
        !commit.is_empty() && commit.len() <= 40 && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
    valid.then(|| commit.chars().take(12).collect())
}

fn rustc() -> Option<String> {
    let version = output(&std::env::var("RUSTC").ok()?, &["--version"])?;
    Some(version.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

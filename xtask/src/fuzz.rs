//! `cargo xtask fuzz`: the fuzz targets of every decoder, one after the other, under AddressSanitizer.
//!
//! The targets are the directories `kyro-*/fuzz`, each a workspace of its own. They are built by cargo-fuzz with the
//! stable compiler, to which `RUSTC_BOOTSTRAP=1` opens the flags that the fuzzer needs.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::{Outcome, tree};

/// Where cargo-fuzz builds: a sanitizer cannot be linked into the static programs of musl.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// One fuzz target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    krate: String,
    name: String,
}

/// What is to be fuzzed, and for how long.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    seconds: u64,
    /// Part of `crate/target`; empty for all.
    wanted: String,
}

/// Fuzzes every target, or those that `--target` names, for `--seconds` (60) each. A finding ends the run; its input is
/// kept in `CRATE/fuzz/artifacts`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let plan = plan(arguments)?;
    let root = tree::root();
    let all = targets(&root)?;
    let chosen: Vec<&Target> = all.iter().filter(|target| full_name(target).contains(&plan.wanted)).collect();
    if chosen.is_empty() {
        let names: Vec<String> = all.iter().map(full_name).collect();
        return Err(
            format!("no target has {:?} in its name; there are {}", plan.wanted, names.join(", ")).into()
        );
    }
    install()?;
    for target in chosen {
        println!("fuzz: {} for {} s", full_name(target), plan.seconds);
        let status = tree::cargo()
            .current_dir(root.join(&target.krate))
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", "--target", TRIPLE, &target.name, "--"])
            .args([
                &format!("-max_total_time={}", plan.seconds),
                "-print_final_stats=1",
                "-rss_limit_mb=3000",
            ])
            .status()?;
        if !status.success() {
            return Err(format!(
                "{} ended with {status}; the input is under {}/fuzz/artifacts",
                full_name(target),
                target.krate
            )
            .into());
        }
    }
    Ok(())
}

fn full_name(target: &Target) -> String {
    format!("{}/{}", target.krate, target.name)
}

fn plan(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan { seconds: 60, wanted: String::new() };
    for pair in arguments.chunks(2) {
        let value = pair.get(1).ok_or(format!("{} takes a value", pair[0]))?;
        match pair[0].as_str() {
            "--seconds" => plan.seconds = value.parse().map_err(|_| "--seconds takes a number".to_owned())?,
            "--target" => plan.wanted.clone_from(value),
            other => return Err(format!("unknown option {other:?}; there are --seconds and --target")),
        }
    }
    Ok(plan)
}

/// The targets of a tree: the files in `kyro-*/fuzz/fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<Target>, Box<dyn std::error::Error>> {
    let mut targets = Vec::new();
    for krate in fs::read_dir(root)? {
        let krate = krate?;
        let Ok(files) = fs::read_dir(krate.path().join("fuzz/fuzz_targets")) else { continue };
        for file in files {
            let path = file?.path();
            if let (Some("rs"), Some(stem)) = (
                path.extension().and_then(|text| text.to_str()),
                path.file_stem().and_then(|text| text.to_str()),
            ) {
                targets.push(Target {
                    krate: krate.file_name().to_string_lossy().into_owned(),
                    name: stem.to_owned(),
                });
            }
        }
    }
    targets.sort();
    Ok(targets)
}

/// Makes sure that cargo-fuzz is there.
fn install() -> Outcome {
    let there =
        tree::cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if there.success() {
        return Ok(());
    }
    println!("fuzz: cargo-fuzz is not installed; running: cargo install cargo-fuzz --locked");
    let status = tree::cargo().args(["install", "cargo-fuzz", "--locked"]).status()?;
    if status.success() { Ok(()) } else { Err(format!("installing cargo-fuzz ended with {status}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn options_are_read_and_others_are_named() {
        let read = plan(&words(&["--target", "kyro-wal", "--seconds", "9"]));
        assert_eq!(read, Ok(Plan { seconds: 9, wanted: "kyro-wal".to_owned() }));
        assert!(plan(&words(&["--second", "9"])).unwrap_err().contains("--second"));
        assert!(plan(&words(&["--seconds", "x"])).unwrap_err().contains("number"));
        assert!(plan(&words(&["--seconds"])).unwrap_err().contains("takes a value"));
    }

    /// The decoders of every format that is on disk or comes over the network.
    #[test]
    fn every_decoder_has_a_target_that_its_manifest_lists() {
        let root = tree::root();
        let found: Vec<String> = targets(&root).unwrap().iter().map(full_name).collect();
        for wanted in [
            "kyro-wal/frame",
            "kyro-wal/segment",
            "kyro-snapshot/decode",
            "kyro-rmi/decode",
            "kyro-rmi/build_and_look_up",
            "kyro-engine/manifest",
            "kyro-engine/payload",
            "kyro-http/binary_frame",
            "kyro-http/json_body",
            "kyro-http/query",
            "kyro-http/headers",
            "kyro-http/records",
        ] {
            assert!(found.iter().any(|name| name == wanted), "{wanted} is missing: {found:?}");
        }
        for target in targets(&root).unwrap() {
            let manifest = fs::read_to_string(root.join(&target.krate).join("fuzz/Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)), "{target:?}");
        }
    }
}

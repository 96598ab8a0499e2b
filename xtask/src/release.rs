//! `cargo xtask release --dry-run`: whether every published crate can be released as it stands.
//!
//! Changelogs are read here; packing and building is cargo's part, versions against the last release are
//! cargo-semver-checks', licences and advisories cargo-deny's. A tool that is not installed, or has nothing to compare with,
//! is skipped with its reason, and that is printed.
#![expect(clippy::print_stdout, reason = "the chore says what it checked, and what it could not")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, Member};
use crate::violation::{Violation, verdict};
use crate::{Outcome, tree};

/// The crates that are published, each after those that it uses.
const PUBLISHED: &[&str] =
    &["kyro-simd", "kyro-rmi", "kyro-wal", "kyro-snapshot", "kyro-engine", "kyro-http"];

/// What cargo-deny is told.
const DENY: &str = ".deny.toml";

/// Checks everything that a release needs, and releases nothing.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments != ["--dry-run"] {
        return Err(
            "only --dry-run is there: publishing is a person's decision (`cargo publish --workspace`)".into(),
        );
    }
    let packages = packages::read()?;
    verdict(changelogs(&packages.members, &tree::root()))?;
    println!("changelogs: every published crate has one that tells of its version");
    if let Some(home) = cargo_home() {
        forget_unpacked(&packages.members, &home.join("registry/src"))?;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree::root().join("target"), PathBuf::from);
    let target = std::path::absolute(target)?.join("release-dry-run");
    forget_built(&target.join("debug/.fingerprint"))?;
    pack(&target)?;
    semver();
    deny()
}

/// Published crates whose changelog does not tell of the version that stands in Cargo.toml, and private crates that would be
/// published.
fn changelogs(members: &[Member], root: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in members {
        let place = format!("{}/CHANGELOG.md", member.name);
        let published = PUBLISHED.contains(&member.name.as_str());
        let private = member.manifest.value("package.publish") == Some("false");
        if published == private {
            violations.push(Violation::new(
                format!("{}/Cargo.toml", member.name),
                "is published here and not there",
                "`publish = false` and PUBLISHED of xtask/src/release.rs must agree",
            ));
        }
        if !published {
            continue;
        }
        let version = member.manifest.value("package.version").unwrap_or_default().trim_matches('"');
        let text = fs::read_to_string(root.join(&place)).unwrap_or_default();
        let heading = format!("## {version}");
        let told =
            text.lines().any(|line| line.trim_end() == heading || line.starts_with(&format!("{heading} ")));
        if version.is_empty() || !told {
            violations.push(Violation::new(
                place,
                format!("has no heading {heading:?}, the version of Cargo.toml"),
                "say below it what this version changes",
            ));
        }
    }
    violations
}

/// Where cargo keeps what it unpacked.
fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Removes what an earlier packing unpacked. Cargo keeps it by name and version, so that a crate would be built with its
/// siblings of then. The registries that packing lays over have directories whose names begin with `-`: they have no host.
fn forget_unpacked(members: &[Member], unpacked: &Path) -> std::io::Result<()> {
    let Ok(registries) = fs::read_dir(unpacked) else { return Ok(()) };
    for registry in registries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with('-'))
    {
        for member in members.iter().filter(|member| PUBLISHED.contains(&member.name.as_str())) {
            let version = member.manifest.value("package.version").unwrap_or_default().trim_matches('"');
            let stale = registry.path().join(format!("{}-{version}", member.name));
            if stale.is_dir() {
                fs::remove_dir_all(stale)?;
            }
        }
    }
    Ok(())
}

/// Removes the marks of what an earlier packing built of these crates, for the same reason; what they depend on stays.
fn forget_built(fingerprints: &Path) -> std::io::Result<()> {
    let Ok(built) = fs::read_dir(fingerprints) else { return Ok(()) };
    for mark in built.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("kyro-")) {
        fs::remove_dir_all(mark.path())?;
    }
    Ok(())
}

/// Packs every published crate and builds it from its package alone: cargo lays the packages over the registry, so that each
/// is built with those of the others, not with their directories.
fn pack(target: &Path) -> Outcome {
    let mut cargo = tree::cargo();
    cargo.arg("package").arg("--target-dir").arg(target);
    for name in PUBLISHED {
        cargo.args(["-p", name]);
    }
    if dirty() {
        println!("packages: the tree differs from its commit; packed as it lies there");
        cargo.arg("--allow-dirty");
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("a crate does not pack, or does not build from its package: {status}").into());
    }
    println!("packages: {} pack and build alone", PUBLISHED.join(", "));
    Ok(())
}

fn dirty() -> bool {
    let output = Command::new("git").current_dir(tree::root()).args(["status", "--porcelain"]).output();
    output.is_ok_and(|output| !output.stdout.is_empty())
}

/// The newest tag that begins with `v`, which a release leaves.
fn last_release() -> Option<String> {
    let output = Command::new("git")
        .current_dir(tree::root())
        .args(["describe", "--tags", "--abbrev=0", "--match", "v*"])
        .output()
        .ok()?;
    let tag = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !tag.is_empty()).then_some(tag)
}

/// Whether `cargo NAME` is there.
fn installed(name: &str) -> bool {
    tree::cargo().args([name, "--version"]).output().is_ok_and(|output| output.status.success())
}

/// Version bumps against the last release. What it finds is said; a version is a person's decision.
fn semver() {
    let skipped = |reason: &str| println!("versions: not checked: {reason}");
    if !installed("semver-checks") {
        return skipped(
            "cargo-semver-checks is not installed (`cargo install cargo-semver-checks --locked`)",
        );
    }
    let Some(tag) = last_release() else {
        return skipped("there is no tag v…: nothing was released yet that a version could break");
    };
    let mut results = BTreeMap::new();
    // kyro-http is a program: its library is for its own tests.
    for name in PUBLISHED.iter().filter(|name| **name != "kyro-http") {
        let status = tree::cargo().args(["semver-checks", "-p", name, "--baseline-rev", &tag]).status();
        results.insert(*name, status.is_ok_and(|status| status.success()));
    }
    for (name, kept) in results {
        println!("versions: {name}: {}", if kept { "no break since" } else { "BREAKS what it had at" });
    }
}

/// Licences, advisories, sources and doubles of everything that is built in.
fn deny() -> Outcome {
    if !installed("deny") {
        println!(
            "dependencies: not checked: cargo-deny is not installed (`cargo install cargo-deny --locked`)"
        );
        return Ok(());
    }
    // It finds its configuration by itself: the flag that names it has stood before `check` and after it.
    let check = |what: &[&str]| tree::cargo().args(["deny", "--all-features", "check"]).args(what).status();
    let status = check(&["bans", "licenses", "sources"])?;
    if !status.success() {
        return Err(format!("cargo deny found something: {status}; what is allowed stands in {DENY}").into());
    }
    println!("dependencies: bans, licences and sources are as {DENY} wants them");
    let status = check(&["advisories"])?;
    if !status.success() {
        let reason = "cargo deny found an advisory, or could not fetch their database: see above";
        return Err(format!("{reason} ({status})").into());
    }
    println!("dependencies: no advisory");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::assert_only;

    #[test]
    fn changelogs_tell_of_the_versions_of_today() {
        assert_eq!(changelogs(&packages::read().unwrap().members, &tree::root()), []);
    }

    #[test]
    fn a_changelog_that_does_not_is_reported() {
        let packages = packages::read().unwrap();
        let empty = std::env::temp_dir().join(format!("xtask-release-{}", std::process::id()));
        for name in PUBLISHED {
            fs::create_dir_all(empty.join(name)).unwrap();
            let newer = if *name == "kyro-wal" { "## 0.0.9\n" } else { "## 0.1.0 (unreleased)\n" };
            fs::write(empty.join(name).join("CHANGELOG.md"), newer).unwrap();
        }
        let found = changelogs(&packages.members, &empty);
        assert_only(&found, &["kyro-wal/CHANGELOG.md", "## 0.1.0", "what this version changes"]);
        fs::remove_dir_all(&empty).unwrap();
    }

    #[test]
    fn what_an_earlier_packing_unpacked_is_forgotten_and_nothing_else() {
        let packages = packages::read().unwrap();
        let unpacked = std::env::temp_dir().join(format!("xtask-unpacked-{}", std::process::id()));
        let version =
            packages.members[0].manifest.value("package.version").unwrap().trim_matches('"').to_owned();
        let stale = unpacked.join(format!("-52f9/kyro-snapshot-{version}"));
        let others =
            ["-52f9/kyro-snapshot-0.0.1", "-52f9/serde-1.0.0", "index.crates.io-1949/kyro-snapshot-0.1.0"];
        let others = others.map(|name| unpacked.join(name));
        for dir in others.iter().chain([&stale]) {
            fs::create_dir_all(dir).unwrap();
        }
        forget_unpacked(&packages.members, &unpacked).unwrap();
        assert!(!stale.exists() && others.iter().all(|dir| dir.is_dir()));
        forget_unpacked(&packages.members, &unpacked.join("nowhere")).unwrap();
        // Of what was built, these crates alone.
        let marks = ["kyro-snapshot-1a05", "serde-3c00"].map(|name| unpacked.join("marks").join(name));
        for mark in &marks {
            fs::create_dir_all(mark).unwrap();
        }
        forget_built(&unpacked.join("marks")).unwrap();
        assert!(!marks[0].exists() && marks[1].is_dir());
        forget_built(&unpacked.join("nowhere")).unwrap();
        fs::remove_dir_all(&unpacked).unwrap();
    }

    #[test]
    fn only_a_dry_run_is_there() {
        for arguments in [&[][..], &["--now"]] {
            let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
            assert!(run(&arguments).unwrap_err().to_string().contains("--dry-run"));
        }
        assert!(tree::root().join(DENY).is_file());
    }
}

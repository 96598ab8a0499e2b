//! `cargo xtask formats`: what any release wrote, this one reads.
//!
//! Two halves. The golden tests of the format crates read every golden file, write with today's code and compare. The
//! list of golden files proves that those files are the ones that were first committed.
#![expect(clippy::print_stdout, reason = "the chore says what it checked")]

use crate::Outcome;
use crate::golden::{LIST, List, is_golden};
use crate::packages::{self, Packages};
use crate::tree::{self, Tree, root};
use crate::violation::{Violation, verdict};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

/// The crates that own a format on disk; each has an integration test of this name.
const FORMAT_CRATES: &[&str] = &["kyro-wal", "kyro-snapshot", "kyro-rmi", "kyro-engine"];
const GOLDEN_TEST: &str = "golden";

/// Checks list and formats; `--add FILE…` appends to the list instead.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments.split_first() {
        None => check(),
        Some((option, files)) if option == "--add" && !files.is_empty() => {
            files.iter().try_for_each(|file| add(&root(), file))
        }
        Some(_) => Err("expected no arguments, or --add FILE…".into()),
    }
}

fn check() -> Outcome {
    let listed = check_list(&root())?;
    println!("{listed} golden files are as they were written");
    verdict(without_golden_test(&packages::read()?))?;
    // The whole workspace, so that this reuses what `cargo test --workspace` built.
    let status =
        tree::cargo().args(["test", "--workspace", "--no-fail-fast", "--test", GOLDEN_TEST]).status()?;
    if status.success() { Ok(()) } else { Err(format!("the golden tests ended with {status}").into()) }
}

/// Compares the golden files below `root` with the list there, and counts them.
fn check_list(root: &Path) -> Result<usize, Box<dyn Error>> {
    let list = read_list(root)?;
    let mut files = BTreeMap::new();
    for file in Tree::read(root)?.files {
        if is_golden(&file.path) {
            let bytes = fs::read(root.join(&file.path))?;
            files.insert(file.path, bytes);
        }
    }
    verdict(list.check(&files))?;
    Ok(files.len())
}

fn read_list(root: &Path) -> Result<List, Box<dyn Error>> {
    let text = fs::read_to_string(root.join(LIST)).map_err(|error| format!("cannot read {LIST}: {error}"))?;
    Ok(List::parse(&text)?)
}

/// Format crates that nothing checks.
fn without_golden_test(packages: &Packages) -> Vec<Violation> {
    let tested = |name: &str| {
        let mut members = packages.members.iter();
        members.any(|member| member.name == name && member.tests.iter().any(|test| test == GOLDEN_TEST))
    };
    FORMAT_CRATES
        .iter()
        .filter(|name| !tested(name))
        .map(|name| {
            Violation::new(
                format!("{name}/tests/{GOLDEN_TEST}.rs"),
                "the crate owns a format and has no golden test",
                "write one that reads every file in tests/golden and compares today's bytes with them",
            )
        })
        .collect()
}

/// Appends `file`, a path from `root`, to the list below `root`.
fn add(root: &Path, file: &str) -> Outcome {
    let path = fs::canonicalize(root.join(file)).map_err(|error| format!("cannot read {file}: {error}"))?;
    let below_root =
        path.strip_prefix(fs::canonicalize(root)?).map_err(|_| format!("{file} is not in the project"))?;
    let name = below_root.to_str().ok_or_else(|| format!("{file} is not UTF-8"))?.to_owned();
    let line = read_list(root)?.new_line(&name, &fs::read(&path)?)?;
    fs::OpenOptions::new().append(true).open(root.join(LIST))?.write_all(line.as_bytes())?;
    println!("{LIST}: added {name}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::tests::sound_packages;
    use crate::violation::assert_only;

    #[test]
    fn the_golden_files_are_as_they_were_written() {
        if let Err(error) = check_list(&root()) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_format_crate_without_a_golden_test_is_reported() {
        let mut packages = sound_packages();
        for member in &mut packages.members {
            member.tests.push(GOLDEN_TEST.to_owned());
        }
        assert_eq!(without_golden_test(&packages), []);
        packages.members.iter_mut().find(|member| member.name == "kyro-rmi").unwrap().tests.clear();
        assert_only(&without_golden_test(&packages), &["kyro-rmi/tests/golden.rs", "no golden test"]);
    }

    #[test]
    fn adding_only_ever_appends() {
        let root = std::env::temp_dir().join(format!("xtask-formats-{}", std::process::id()));
        let golden = root.join("kyro-wal/tests/golden");
        fs::create_dir_all(&golden).unwrap();
        fs::create_dir_all(root.join("xtask")).unwrap();
        fs::write(root.join(LIST), "").unwrap();
        fs::write(golden.join("v1.wal"), "one").unwrap();
        fs::write(golden.join("v2.wal"), "two").unwrap();
        let list = || fs::read_to_string(root.join(LIST)).unwrap();

        assert!(check_list(&root).unwrap_err().to_string().contains("2 to change"));
        add(&root, "kyro-wal/tests/golden/v1.wal").unwrap();
        let first = list();
        add(&root, "kyro-wal/tests/golden/v2.wal").unwrap();
        assert!(list().starts_with(&first) && list().lines().count() == 2, "{}", list());
        assert_eq!(check_list(&root).unwrap(), 2);

        fs::write(golden.join("v1.wal"), "changed").unwrap();
        let before = list();
        for file in ["kyro-wal/tests/golden/v1.wal", "xtask/golden.sha256", "kyro-wal/tests/golden/v3.wal"] {
            assert!(add(&root, file).is_err(), "{file}");
        }
        assert_eq!(list(), before);
        assert!(check_list(&root).unwrap_err().to_string().contains("has changed"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for arguments in [&["--add"][..], &["--bless"], &["kyro-wal/tests/golden/v1.wal"]] {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert!(run(&arguments).is_err(), "{arguments:?}");
        }
    }
}

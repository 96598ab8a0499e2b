//! `cargo xtask formats`: what any release wrote, this one reads.
//!
//! Three parts. The golden tests of the format crates read every golden file, write with today's code and compare, and hold
//! annotated dumps against their snapshots. The list of golden files proves that those files are the ones that were first
//! committed. The refusals prove that code of today says so of what a later version wrote, instead of misreading it.
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
const FORMAT_CRATES: &[&str] = &["kyro-wal", "kyro-snapshot", "kyro-rmi", "kyro-engine", "kyro-http"];
const GOLDEN_TEST: &str = "golden";

/// The test in which each reader refuses what a newer version wrote: file, and name.
const REFUSALS: &[(&str, &str)] = &[
    ("kyro-wal/tests/damage.rs", "newer_versions_and_other_databases_are_named"),
    ("kyro-snapshot/tests/damage.rs", "refusals_say_what_they_found"),
    ("kyro-rmi/tests/damage.rs", "headers_are_refused_for_what_they_say"),
    ("kyro-engine/tests/lifecycle.rs", "a_lost_or_newer_manifest_is_refused_and_nothing_is_changed"),
    ("kyro-engine/src/batch.rs", "only_a_range_delete_takes_the_newer_format"),
    ("kyro-http/src/frame/tests.rs", "a_frame_of_a_newer_version_is_refused"),
];

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
    verdict(without_refusal(&root()))?;
    // The whole workspace, so that this reuses what `cargo test --workspace` built.
    let test = |arguments: &[&str]| {
        tree::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(arguments).status()
    };
    let golden = test(&["--test", GOLDEN_TEST, "--test", "inspect"])?;
    let mut refusals = vec!["--lib", "--test", "damage", "--test", "lifecycle", "--"];
    refusals.extend(REFUSALS.iter().map(|(_, name)| *name));
    let refused = test(&refusals)?;
    for (what, status) in [("golden tests", golden), ("tests of refusals", refused)] {
        if !status.success() {
            let remedy = crate::golden::NEW_VERSION;
            return Err(format!("the {what} ended with {status}; if bytes changed: {remedy}").into());
        }
    }
    println!("{} readers refuse what a newer version wrote", REFUSALS.len());
    Ok(())
}

/// Refusals that are listed and not tested.
fn without_refusal(root: &Path) -> Vec<Violation> {
    let missing = |(file, name): &&(&str, &str)| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        !text.contains(&format!("fn {name}()"))
    };
    let violation = |(file, name): &(&str, &str)| {
        Violation::new(
            *file,
            format!("has no test {name}"),
            "a reader must refuse what a newer version wrote: bring the test back, or name the new one in REFUSALS of \
             xtask/src/formats.rs",
        )
    };
    REFUSALS.iter().filter(missing).map(violation).collect()
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
    fn every_reader_refuses_newer_versions() {
        assert_eq!(without_refusal(&root()), []);
        let nowhere = without_refusal(Path::new("/nonexistent"));
        assert_eq!(nowhere.len(), REFUSALS.len());
    }

    /// A byte of a golden file changed in a copy of all of them: the check fails, and says what to do.
    #[test]
    fn a_changed_byte_without_a_new_version_fails() {
        let copy = std::env::temp_dir().join(format!("xtask-flipped-{}", std::process::id()));
        fs::create_dir_all(copy.join("xtask")).unwrap();
        fs::copy(root().join(LIST), copy.join(LIST)).unwrap();
        let golden: Vec<String> = Tree::read(&root())
            .unwrap()
            .files
            .into_iter()
            .map(|file| file.path)
            .filter(|path| is_golden(path))
            .collect();
        for path in &golden {
            fs::create_dir_all(copy.join(path).parent().unwrap()).unwrap();
            fs::copy(root().join(path), copy.join(path)).unwrap();
        }
        assert_eq!(check_list(&copy).unwrap(), golden.len());
        for path in &golden {
            let whole = fs::read(copy.join(path)).unwrap();
            let mut changed = whole.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 1;
            fs::write(copy.join(path), &changed).unwrap();
            let error = check_list(&copy).unwrap_err().to_string();
            for part in [path.as_str(), "has changed", "new version number", "cargo xtask formats --add"] {
                assert!(error.contains(part), "{part:?} is not in {error}");
            }
            fs::write(copy.join(path), &whole).unwrap();
        }
        fs::remove_dir_all(&copy).unwrap();
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

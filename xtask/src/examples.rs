//! Every example of every crate is run, or listed here with the reason why not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tree::root;

/// Crate, example, and a word of what it prints.
const RUN: &[(&str, &str, &str)] = &[
    ("kyro-engine", "bulk_build", "records of 16 bytes"),
    ("kyro-engine", "dedupe", "seen before"),
    ("kyro-engine", "event_retention", "compacted from"),
    ("kyro-engine", "feature_store", "0 mispredicted"),
    ("kyro-engine", "node_locations", "built and verified"),
    ("kyro-rmi", "own_column", ""),
    ("kyro-simd", "inlined_loop", ""),
    ("kyro-snapshot", "build_ship_open", ""),
    ("kyro-wal", "event_log", "something happened"),
];

/// Crate, example, and why it is only compiled.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("kyro-bench", "one_set", "measures"),
    ("kyro-engine", "check_load", "checks a load of its own by hand"),
    ("kyro-engine", "push_under_load", "measures"),
    ("kyro-http", "client", "needs a server: kyro-http/tests/clients.rs runs it"),
    ("kyro-rmi", "measure", "measures"),
    ("kyro-wal", "append_rate", "measures"),
];

fn examples_of(tree: &Path) -> BTreeSet<(String, String)> {
    let crates = fs::read_dir(tree).into_iter().flatten().filter_map(Result::ok);
    let crates = crates.filter(|entry| entry.file_name().to_string_lossy().starts_with("kyro-"));
    let mut found = BTreeSet::new();
    for member in crates {
        for example in
            fs::read_dir(member.path().join("examples")).into_iter().flatten().filter_map(Result::ok)
        {
            let path = example.path();
            let is_rust =
                path.extension().is_some_and(|ending| ending == "rs") || path.join("main.rs").exists();
            if is_rust {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                found.insert((member.file_name().to_string_lossy().into_owned(), name));
            }
        }
    }
    found
}

#[test]
fn every_example_is_listed() {
    let listed =
        RUN.iter().chain(NOT_RUN).map(|(member, name, _)| ((*member).to_owned(), (*name).to_owned()));
    assert_eq!(listed.collect::<BTreeSet<_>>(), examples_of(&root()));
}

/// Where cargo puts examples beside this test. `cargo test --workspace` has built them; otherwise they are built now.
fn built(member: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let path = test.ancestors().nth(2).unwrap_or(Path::new(".")).join("examples").join(name);
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "-q", "-p", member, "--example", name]).status();
        assert!(built.is_ok_and(|status| status.success()), "{member}: example {name} does not build");
    }
    path
}

#[test]
fn every_example_runs_and_says_what_it_should() {
    let place = std::env::temp_dir().join(format!("kyrodb-examples-{}", std::process::id()));
    for (member, name, word) in RUN {
        let mut command = Command::new(built(member, name));
        match *name {
            "event_log" => drop(command.arg(&place).args(["something happened", "something else"])),
            "bulk_build" => drop(command.arg(place.with_extension("bulk"))),
            _ => {}
        }
        let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(word), "{member} {name}: {output:?}");
    }
    for place in [place.with_extension("bulk"), place] {
        fs::remove_dir_all(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    }
}

//! The commands of both READMEs, run as they stand there (the address aside) against a fresh server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::collections::HashSet;
use std::process::Command;

use running::documented::{is_there, run_curl_lines};
use running::{Server, fresh};

#[test]
fn the_curl_lines_work_and_print_what_they_promise() {
    if !is_there("curl") {
        return;
    }
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let (run, compared) = run_curl_lines(include_str!("../README.md"), &server);
    assert!(run >= 14 && compared >= 6, "{run} commands, {compared} with their output");
}

/// The lines of the root README's shell blocks.
fn commands(readme: &str) -> Vec<&str> {
    let mut inside = false;
    let lines = readme.lines().filter(|line| {
        if line.starts_with("```") {
            inside = *line == "```sh";
            return false;
        }
        inside && !line.is_empty()
    });
    lines.collect()
}

#[test]
fn every_command_of_the_root_readme_works() {
    if !is_there("curl") {
        return;
    }
    let (parent, dir) = fresh();
    let server = Server::start(&dir);
    let program = env!("CARGO_BIN_EXE_kyro-http");
    let readme = include_str!("../../README.md");
    let mut run = 0;
    for line in commands(readme) {
        // Itself, and the tests of which this is one.
        if line.starts_with("cargo run --release -p kyro-http -- serve ")
            || line.starts_with("cargo test --workspace")
        {
            run += 1;
            continue;
        }
        let command = line
            .replace("cargo run --release -p kyro-http --", program)
            .replace("127.0.0.1:8080", &server.address.to_string())
            .replacen("curl ", "curl -sS --fail ", 1);
        let output = Command::new("sh").args(["-ec", &command]).current_dir(parent.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !text.is_empty() || line.starts_with("printf"),
            "{line}: {output:?}"
        );
        if line.contains(" get 7 ") {
            assert_eq!(text, "seven", "{line}");
        }
        run += 1;
    }
    assert_eq!(run, 19, "lines that are commands");
}

/// What the README names in its text: verbs, and files that are there.
#[test]
fn what_the_root_readme_names_is_there() {
    let readme = include_str!("../../README.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut links = 0;
    for link in readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(root.join(link).exists(), "{link}");
        links += 1;
    }
    assert!(links >= 25, "{links}");
    for chore in ["bench", "formats"] {
        assert!(readme.contains(&format!("cargo xtask {chore}")));
        let chores = std::fs::read_to_string(root.join("xtask/src/main.rs")).unwrap();
        assert!(chores.contains(&format!("name: \"{chore}\"")), "{chore}");
    }
}

/// Every figure of the README stands in the record that is linked before it: another record is taken by linking it.
#[test]
fn figures_are_those_of_the_records_linked_beside_them() {
    let readme = include_str!("../../README.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let section = readme.split("\n## Figures\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut compared = 0;
    for part in section.split("](kyro-bench/record/").skip(1) {
        let (link, text) = part.split_once(')').unwrap();
        let Ok(record) = std::fs::read_to_string(root.join("kyro-bench/record").join(link)) else { continue };
        let cells: HashSet<&str> =
            record.split(|letter: char| letter == '|' || letter.is_whitespace()).collect();
        // In the table, the cells; in the text, numbers of three digits and more: others are sizes and counts of writers.
        for line in text.lines() {
            // The first cell of a row says what the others are.
            let row = line.strip_prefix('|').and_then(|row| row.split_once('|')).map(|(_, cells)| cells);
            let words = row.unwrap_or(line).split(|letter: char| letter == '|' || letter.is_whitespace());
            let words = words.map(|word| word.trim_matches(|letter: char| "*(),.:;".contains(letter)));
            let figures = words.filter(|word| word.parse::<f64>().is_ok() && *word != "100");
            for figure in figures.filter(|figure| line.starts_with('|') || figure.len() > 2) {
                assert!(cells.contains(figure), "{figure} is not in {link}: {line}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 36, "{compared}");
}

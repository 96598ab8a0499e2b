//! The chores of the workspace: `cargo xtask CHORE`.
//!
//! Invariant: xtask is never linked into anything, and links none of the workspace's crates; it reads the tree and
//! runs `cargo`. Each check is a function over plain data, so that its tests can hand it a workspace that breaks the
//! rule, and each is also a `#[test]`, so that `cargo test --workspace` runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks through its standard streams"
)]

mod bench;
mod campaign;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod format_pages;
mod formats;
mod fuzz;
mod golden;
mod http_battery;
mod instructions;
mod layers;
mod manifest;
mod mutants;
mod neon;
#[cfg(test)]
mod outside;
mod packages;
mod powerloss;
mod release;
mod reserved;
mod rust_source;
mod sanitize;
mod schedules;
mod tidy;
mod tree;
mod violation;

use std::error::Error;
use std::process::ExitCode;

/// What a chore returns: an error is a failed chore, its text is for the person who ran it.
type Outcome = Result<(), Box<dyn Error>>;

/// One chore: the word that calls it, its line in the help, and what it runs with the arguments after the word.
struct Chore {
    name: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> Outcome,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "layers",
        summary: "check which crate may use which, and what every crate must carry",
        run: layers::run,
    },
    Chore {
        name: "tidy",
        summary: "check the tree: module docs, file lengths, where unsafe is, names, top level",
        run: tidy::run,
    },
    Chore {
        name: "formats",
        summary: "check that every file ever written still reads, byte for byte; --add FILE lists a new golden file",
        run: formats::run,
    },
    Chore {
        name: "crash",
        summary: "cut the power of a simulated disk at every operation; --seeds, --states, --double-every",
        run: campaign::crash,
    },
    Chore {
        name: "kill",
        summary: "SIGKILL writers, again and again on one directory; --cycles, or --server-cycles for the server",
        run: campaign::kill,
    },
    Chore {
        name: "http-battery",
        summary: "malformed, slow, countless and generated clients of the server; --rounds, --slow-clients, --addresses, --generated, --seed",
        run: http_battery::run,
    },
    Chore {
        name: "soak",
        summary: "a mixed load with kills; memory, descriptors and disk must stay flat; --minutes",
        run: campaign::soak,
    },
    Chore {
        name: "fuzz",
        summary: "fuzz every decoder under AddressSanitizer; --seconds for each, --target part of a name",
        run: fuzz::run,
    },
    Chore {
        name: "mutants",
        summary: "build each seeded fault and see the test fail that is named for it; parts of names",
        run: mutants::run,
    },
    Chore {
        name: "asan",
        summary: "run the tests of the crates with unsafe code under AddressSanitizer",
        run: sanitize::run,
    },
    Chore {
        name: "neon",
        summary: "run the tests of kyro-simd and kyro-rmi for aarch64, emulated; check both without std",
        run: neon::run,
    },
    Chore {
        name: "powerloss",
        summary: "cut the power of a recorded device under a real file system; --points, --per-round, --seed, --fs",
        run: powerloss::run,
    },
    Chore {
        name: "schedules",
        summary: "try the interleavings of queue, visible offset and views under shuttle; --schedules",
        run: schedules::run,
    },
    Chore {
        name: "bench",
        summary: "measure: all groups and one report (--quick, --full, --out DIR), or one group with its arguments",
        run: bench::run,
    },
    Chore {
        name: "instructions",
        summary: "count the instructions of the hot paths under valgrind, against their limits; names of paths",
        run: instructions::run,
    },
    Chore {
        name: "release",
        summary: "--dry-run: changelogs, packages built alone, versions, licences and advisories",
        run: release::run,
    },
    Chore {
        name: "plot",
        summary: "draw the pictures of a report.json, or of a workload's CSV, again; --out DIR",
        run: bench::plot,
    },
];

/// The exit code of a command that was called wrongly.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("no chore given\n\n{}", help());
        return ExitCode::from(USAGE);
    };
    if matches!(name.as_str(), "--help" | "-h" | "help") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(chore) = CHORES.iter().find(|chore| chore.name == name) else {
        eprint!("unknown chore {name:?}\n\n{}", help());
        return ExitCode::from(USAGE);
    };
    match (chore.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The list of chores, one line each.
fn help() -> String {
    let width = CHORES.iter().map(|chore| chore.name.len()).max().unwrap_or(0);
    let lines: Vec<_> =
        CHORES.iter().map(|chore| format!("  {:width$}  {}\n", chore.name, chore.summary)).collect();
    format!("cargo xtask CHORE [ARGUMENTS]\n\n{}", lines.concat())
}

/// For a chore that takes no arguments: an error that names the first one given.
fn refuse_arguments(arguments: &[String]) -> Outcome {
    match arguments.first() {
        None => Ok(()),
        Some(first) => Err(format!("takes no arguments, got {first:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_chore_on_a_line_of_its_own() {
        let text = help();
        for chore in CHORES {
            let lines = text.lines().filter(|line| line.trim_start().starts_with(chore.name)).count();
            assert_eq!(lines, 1, "{} in\n{text}", chore.name);
        }
    }

    #[test]
    fn a_chore_without_arguments_names_what_it_did_not_expect() {
        let error = refuse_arguments(&["--fast".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("--fast"), "{error}");
    }
}

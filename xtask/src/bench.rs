//! `cargo xtask bench` and `plot`: kyro-bench in its optimised build, with what each group needs built in or beside it.

use std::path::PathBuf;
use std::time::Instant;

use crate::{Outcome, tree};

/// One group of kyro-bench, as `cargo xtask bench` runs it among all.
struct Group {
    /// Its command of kyro-bench.
    name: &'static str,
    /// The feature with the rivals that the group is nothing without. Building them takes minutes, once.
    feature: Option<&'static str>,
    /// Whether it starts the server.
    server: bool,
    /// Its arguments in a run of seconds, which shows where things stand.
    quick: &'static [&'static str],
    /// In a run of minutes: what records are made of.
    usual: &'static [&'static str],
    /// In a run of as long as it takes.
    full: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    Group {
        name: "index",
        feature: Some("rivals-index"),
        server: false,
        quick: &[
            "--keys=10000",
            "--keys=100000",
            "--keys=1000000",
            "--keys=4000000",
            "--data=uniform",
            "--data=osm-like",
            "--rivals=btree-map,hashbrown,eytzinger,partition-point",
            "--lookups=20000",
            "--repeats=3",
        ],
        usual: &[
            "--keys=10000",
            "--keys=100000",
            "--keys=1000000",
            "--keys=10000000",
            "--data=uniform",
            "--data=osm-like",
        ],
        full: &["--keys=100000", "--keys=1000000", "--keys=10000000"],
    },
    Group {
        name: "wal",
        feature: Some("rivals-engines"),
        server: false,
        quick: &[
            "--parts=always,recovery",
            "--seconds=0.15",
            "--repeats=3",
            "--transfer-mib=32",
            "--tail=100000",
            "--stored=100000",
            "--stored=1000000",
        ],
        usual: &["--seconds=1", "--repeats=5"],
        full: &["--seconds=2", "--repeats=9"],
    },
    Group {
        name: "engine",
        feature: Some("rivals-engines"),
        server: false,
        quick: &["--sizes=200000x16", "--gets=50000", "--repeats=3", "--loads=1", "--busy-seconds=2"],
        usual: &[],
        full: &["--full"],
    },
    Group {
        name: "http",
        feature: None,
        server: true,
        quick: &["--quick", "--records=200000", "--seconds=0.4", "--idle-connections=500"],
        usual: &[],
        full: &["--seconds=8"],
    },
    Group {
        name: "rivals",
        feature: Some("rivals-engines"),
        server: false,
        quick: &["--quick"],
        usual: &[],
        full: &["--full"],
    },
];

/// Where reports go unless `--out` says otherwise, from the root.
const REPORT: &str = "target/bench-report";

/// How long the run of all groups is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Quick,
    Usual,
    Full,
    /// The group's own defaults.
    Own,
}

impl Group {
    fn options(&self, length: Length) -> &'static [&'static str] {
        match length {
            Length::Quick => self.quick,
            Length::Usual => self.usual,
            Length::Full => self.full,
            Length::Own => &[],
        }
    }
}

/// A command that starts the server and is no group: it takes its time for one figure, which a report of all has no need of.
const SWITCH: &str = "switch";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All groups.
    All { length: Length, out: Option<PathBuf> },
    /// One command of kyro-bench, with its arguments unchanged.
    One { command: String, arguments: Vec<String> },
}

/// Runs all groups and makes one report of them, or runs one group or another command of kyro-bench with the arguments
/// after it, unchanged, and its own standard streams.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    match asked(arguments)? {
        Asked::All { length, out } => all(length, out),
        Asked::One { command, arguments } => one(&command, &arguments),
    }
}

/// `cargo xtask plot DIR|FILE`: draws a report again.
pub(crate) fn plot(arguments: &[String]) -> Outcome {
    if arguments.is_empty() {
        return Err("wanted is a report.json, its directory, or a CSV of the workload client".into());
    }
    build(&[])?;
    kyro_bench(&[], &[&["plot".to_owned()], arguments].concat())
}

/// Reads the arguments: `--quick` and `--full` may stand before the group.
fn asked(arguments: &[String]) -> Result<Asked, String> {
    let command = arguments.iter().position(|argument| !argument.starts_with('-'));
    let (before, rest) = arguments.split_at(command.unwrap_or(arguments.len()));
    let mut length = Length::Own;
    let mut out = None;
    for (index, argument) in before.iter().enumerate() {
        match argument.as_str() {
            "--quick" => length = Length::Quick,
            "--full" => length = Length::Full,
            "--out" if index + 1 == before.len() && rest.len() == 1 => out = Some(PathBuf::from(&rest[0])),
            other => match other.strip_prefix("--out=") {
                Some(dir) => out = Some(PathBuf::from(dir)),
                None if other == "--help" || other == "-h" => {
                    return Ok(Asked::One { command: other.to_owned(), arguments: Vec::new() });
                }
                None => {
                    return Err(format!("unknown option {other:?}; there are --quick, --full, --out DIR"));
                }
            },
        }
    }
    match rest.split_first() {
        Some((command, arguments)) if out.as_deref() != Some(command.as_ref()) => {
            // What the length means is known here; what stands behind the group is the group's own.
            let group = GROUPS.iter().find(|group| group.name == command);
            let mut own: Vec<String> = group.map_or_else(
                || before.to_vec(),
                |group| group.options(length).iter().map(|&option| option.to_owned()).collect(),
            );
            if let (Some(_), Some(out)) = (group, &out) {
                own.push(format!("--out={}", out.display()));
            }
            own.extend_from_slice(arguments);
            Ok(Asked::One { command: command.clone(), arguments: own })
        }
        _ if length == Length::Own => Ok(Asked::All { length: Length::Usual, out }),
        _ => Ok(Asked::All { length, out }),
    }
}

fn one(command: &str, arguments: &[String]) -> Outcome {
    let group = GROUPS.iter().find(|group| group.name == command);
    if command == SWITCH || group.is_some_and(|group| group.server) {
        build_server()?;
    }
    let mut features: Vec<&str> = group.and_then(|group| group.feature).into_iter().collect();
    // It is a quarter of an hour of C++, so only for those who ask for it by name.
    if arguments.iter().any(|argument| argument.contains("rocksdb")) {
        features.push("rivals-rocksdb");
    }
    // Not left to the quiet run of it: minutes without a line look like a program that hangs.
    build(&features)?;
    kyro_bench(&features, &[&[command.to_owned()], arguments].concat())
}

/// All groups one after the other, then one report. A group that fails does not keep the others from running.
fn all(length: Length, out: Option<PathBuf>) -> Outcome {
    let out = out.unwrap_or_else(|| tree::root().join(REPORT));
    let out = std::path::absolute(out)?;
    let features: Vec<&str> = GROUPS.iter().filter_map(|group| group.feature).collect();
    build_server()?;
    build(&features)?;
    let started = Instant::now();
    let mut failed = Vec::new();
    for group in GROUPS {
        let dir = out.join(group.name);
        // What an earlier run left there is not of this one.
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let mut arguments = vec![group.name.to_owned()];
        arguments.extend(group.options(length).iter().map(|&option| option.to_owned()));
        arguments.extend(["--out".to_owned(), dir.display().to_string()]);
        if let Err(error) = kyro_bench_quietly(&features, &arguments) {
            failed.push(format!("{}: {error}", group.name));
        }
        eprintln!("--- {:.0} s: {} done", started.elapsed().as_secs_f64(), group.name);
    }
    let command = match length {
        Length::Quick => "cargo xtask bench --quick",
        Length::Usual | Length::Own => "cargo xtask bench",
        Length::Full => "cargo xtask bench --full",
    };
    let dir = out.display().to_string();
    kyro_bench(&features, &["summary", &dir, "--command", command].map(str::to_owned))?;
    eprintln!("--- all groups took {:.0} s", started.elapsed().as_secs_f64());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

fn build_server() -> Outcome {
    let status = tree::cargo().args(["build", "--release", "-p", "kyro-http"]).status()?;
    if status.success() { Ok(()) } else { Err(format!("the server was not built: {status}").into()) }
}

fn build(features: &[&str]) -> Outcome {
    let mut cargo = tree::cargo();
    cargo.args(["build", "--release", "-p", "kyro-bench", "--features", &features.join(",")]);
    let status = cargo.status()?;
    if status.success() { Ok(()) } else { Err(format!("kyro-bench was not built: {status}").into()) }
}

fn kyro_bench(features: &[&str], arguments: &[String]) -> Outcome {
    let status = command(features, arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("kyro-bench ended with {status}").into()) }
}

/// The same, with its report only in the file: one of all groups comes at the end.
fn kyro_bench_quietly(features: &[&str], arguments: &[String]) -> Outcome {
    let status = command(features, arguments).stdout(std::process::Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("kyro-bench ended with {status}").into()) }
}

fn command(features: &[&str], arguments: &[String]) -> std::process::Command {
    let mut cargo = tree::cargo();
    cargo.args(["run", "--quiet", "--release", "-p", "kyro-bench"]);
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    // The paths of the arguments are those of who called.
    if let Ok(dir) = std::env::current_dir() {
        cargo.arg("--manifest-path").arg(tree::root().join("Cargo.toml")).current_dir(dir);
    }
    cargo.arg("--").args(arguments);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn groups_have_their_rivals() {
        let manifest = std::fs::read_to_string(tree::root().join("kyro-bench/Cargo.toml")).unwrap();
        for group in GROUPS {
            if let Some(feature) = group.feature {
                assert!(manifest.contains(&format!("\n{feature} = [")), "{} wants {feature}", group.name);
            }
        }
        assert!(manifest.contains("\nrivals-rocksdb = ["));
    }

    #[test]
    fn without_a_group_all_are_run() {
        let all = |length, out: Option<&str>| Asked::All { length, out: out.map(PathBuf::from) };
        assert_eq!(asked(&[]), Ok(all(Length::Usual, None)));
        assert_eq!(asked(&words("--quick")), Ok(all(Length::Quick, None)));
        assert_eq!(asked(&words("--full --out a/b")), Ok(all(Length::Full, Some("a/b"))));
        assert_eq!(asked(&words("--quick --out=a/b")), Ok(all(Length::Quick, Some("a/b"))));
        assert!(asked(&words("--fast")).unwrap_err().contains("--fast"));
    }

    #[test]
    fn a_group_gets_its_arguments_wherever_they_stand() {
        let one = |command: &str, arguments: &str| Asked::One {
            command: command.to_owned(),
            arguments: words(arguments),
        };
        assert_eq!(asked(&words("wal --dir x --quick")), Ok(one("wal", "--dir x --quick")));
        assert_eq!(asked(&words("--quick rivals --repeats 9")), Ok(one("rivals", "--quick --repeats 9")));
        let Ok(Asked::One { arguments, .. }) = asked(&words("--quick index --seed 7")) else { panic!() };
        assert!(arguments.starts_with(&words("--keys=10000")) && arguments.ends_with(&words("--seed 7")));
        assert_eq!(asked(&words("workload --op put")), Ok(one("workload", "--op put")));
        assert_eq!(asked(&words("compare a.json b.json")), Ok(one("compare", "a.json b.json")));
    }
}

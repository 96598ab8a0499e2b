//! `cargo xtask http-battery`: what clients must not be able to do to the server, wide.
//!
//! The tests of every run, optimised and as wide as is asked for, and then requests generated from the interface's own
//! description, which need Python and PyPI.

use std::process::Command;

use crate::{Outcome, tree};

/// The tests, and the options that make them wider.
const TESTS: &[&str] = &[
    "malformed",
    "slow_clients",
    "addresses",
    "access",
    "bad_input",
    "streams",
    "cold",
    "log",
    "load_stream",
    "stop",
    "stop_streams",
    "kill",
    "http_docs",
];
const OPTIONS: &[(&str, &str, &str)] = &[
    ("--rounds", "KYRO_HTTP_MALFORMED_ROUNDS", "10"),
    ("--slow-clients", "KYRO_HTTP_SLOW_CLIENTS", "1000"),
    ("--addresses", "KYRO_HTTP_ADDRESSES", "1000000"),
];
const GENERATOR: &str = ".ci/schemathesis";

/// Malformed requests (`--rounds` times the table), `--slow-clients` at once, `--addresses` behind a proxy, tokens,
/// streams, drain; then about `--generated` requests for each operation, from `--seed` on (`--generated 0`: none).
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let plan = Plan::read(arguments)?;
    let mut cargo = tree::cargo();
    cargo.args(["test", "--release", "-p", "kyro-http"]);
    cargo.args(TESTS.iter().flat_map(|test| ["--test", test])).args(["--", "--nocapture"]);
    let status = cargo.envs(plan.variables.iter().map(|(name, value)| (*name, value))).status()?;
    if !status.success() {
        return Err(format!("the battery ended with {status}").into());
    }
    if plan.generated == "0" {
        return Ok(());
    }
    let mut generator = Command::new(tree::root().join(GENERATOR));
    generator.args(["-n", &plan.generated, "--seed", &plan.seed]);
    let status = generator.status()?;
    if status.success() { Ok(()) } else { Err(format!("{GENERATOR} ended with {status}").into()) }
}

#[derive(Debug, PartialEq)]
struct Plan {
    variables: Vec<(&'static str, String)>,
    generated: String,
    seed: String,
}

impl Plan {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut plan = Self {
            variables: OPTIONS
                .iter()
                .map(|(_, variable, default)| (*variable, (*default).to_owned()))
                .collect(),
            generated: "150".to_owned(),
            seed: "1".to_owned(),
        };
        for pair in arguments.chunks(2) {
            let number = pair.get(1).filter(|value| value.parse::<u64>().is_ok());
            let number = number.ok_or(format!("{} takes a number", pair[0]))?.clone();
            match OPTIONS.iter().position(|(name, ..)| *name == pair[0]) {
                Some(at) => plan.variables[at].1 = number,
                None if pair[0] == "--generated" => plan.generated = number,
                None if pair[0] == "--seed" => plan.seed = number,
                None => return Err(format!("unknown option {:?}", pair[0])),
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        Plan::read(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_make_it_wider_and_nothing_else_is_taken() {
        let wide = plan("--slow-clients 3000 --generated 0 --seed 9").unwrap();
        assert_eq!((wide.generated.as_str(), wide.seed.as_str()), ("0", "9"));
        let set: Vec<&str> = wide.variables.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(set, ["10", "3000", "1000000"]);
        for wrong in ["--slow-clients", "--slow-clients many", "--fast 1"] {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_it_runs_is_there() {
        let tests = tree::root().join("kyro-http/tests");
        for test in TESTS {
            assert!(tests.join(format!("{test}.rs")).is_file(), "{test}");
        }
        assert!(tree::root().join(GENERATOR).is_file());
        for (_, variable, _) in OPTIONS {
            let reads = TESTS.iter().any(|test| {
                std::fs::read_to_string(tests.join(format!("{test}.rs"))).unwrap().contains(variable)
            });
            assert!(reads, "no test reads {variable}");
        }
    }
}

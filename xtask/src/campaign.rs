//! `cargo xtask crash`, `kill` and `soak`: the tests of the same name, optimised, and as wide as is asked for.
//!
//! Each option is an environment variable of the test, so that CI's narrow run and a campaign are the same code.

use crate::{Outcome, tree};

/// A test that can be run wide: where it is, and its options with the variables they set.
struct Campaign {
    package: &'static str,
    test: &'static str,
    options: &'static [(&'static str, &'static str)],
}

const CRASH: Campaign = Campaign {
    package: "kyro-engine",
    test: "crash",
    options: &[
        ("--seeds", "KYRO_CRASH_SEEDS"),
        ("--states", "KYRO_CRASH_STATES"),
        ("--double-every", "KYRO_CRASH_DOUBLE"),
    ],
};

const KILL: Campaign =
    Campaign { package: "kyro-engine", test: "kill", options: &[("--cycles", "KYRO_KILL_CYCLES")] };

const KILL_SERVER: Campaign =
    Campaign { package: "kyro-http", test: "kill", options: &[("--server-cycles", "KYRO_KILL_CYCLES")] };

const SOAK: Campaign =
    Campaign { package: "kyro-engine", test: "soak", options: &[("--seconds", "KYRO_SOAK_SECONDS")] };

/// Power cuts on the simulated disk: `--seeds` workloads, `--states` disks left by a cut before each operation, every
/// `--double-every`-th of them cut again during its recovery.
pub(crate) fn crash(arguments: &[String]) -> Outcome {
    run(&CRASH, arguments)
}

/// SIGKILL of a process that writes, `--cycles` times on one directory; with `--server-cycles`, of a server with 64
/// clients instead.
pub(crate) fn kill(arguments: &[String]) -> Outcome {
    let server = arguments.first().is_some_and(|first| first == "--server-cycles");
    run(if server { &KILL_SERVER } else { &KILL }, arguments)
}

/// A mixed load with kills for `--minutes` (3); memory, descriptors and disk must stay flat.
pub(crate) fn soak(arguments: &[String]) -> Outcome {
    let minutes = match arguments {
        [] => 3,
        [option, number] if option == "--minutes" => {
            number.parse().map_err(|_| "--minutes takes a number")?
        }
        _ => return Err("the only option is --minutes".into()),
    };
    run(&SOAK, &["--seconds".to_owned(), (minutes * 60_u64).to_string()])
}

fn run(campaign: &Campaign, arguments: &[String]) -> Outcome {
    let variables = variables(campaign, arguments)?;
    let mut cargo = tree::cargo();
    cargo.args(["test", "--release", "-p", campaign.package, "--test", campaign.test, "--", "--nocapture"]);
    let status = cargo.envs(variables).status()?;
    if status.success() { Ok(()) } else { Err(format!("the campaign ended with {status}").into()) }
}

/// The variables that the arguments set; an unknown option or a value that is no number is an error.
fn variables(campaign: &Campaign, arguments: &[String]) -> Result<Vec<(&'static str, String)>, String> {
    let names: Vec<&str> = campaign.options.iter().map(|(name, _)| *name).collect();
    let mut set = Vec::new();
    for pair in arguments.chunks(2) {
        let known = campaign.options.iter().find(|(name, _)| *name == pair[0]);
        let (_, variable) = known.ok_or(format!("unknown option {:?}; there are {names:?}", pair[0]))?;
        let value = pair.get(1).filter(|value| value.parse::<u64>().is_ok());
        set.push((*variable, value.ok_or(format!("{} takes a number", pair[0]))?.clone()));
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_variables_and_others_are_named() {
        let arguments = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let set = variables(&CRASH, &arguments(&["--seeds", "9", "--states", "2"]));
        assert_eq!(
            set,
            Ok(vec![("KYRO_CRASH_SEEDS", "9".to_owned()), ("KYRO_CRASH_STATES", "2".to_owned())])
        );
        assert!(variables(&CRASH, &arguments(&["--seed", "9"])).unwrap_err().contains("--seed"));
        assert!(variables(&KILL, &arguments(&["--cycles"])).unwrap_err().contains("takes a number"));
        assert!(variables(&KILL, &arguments(&["--cycles", "many"])).unwrap_err().contains("takes a number"));
    }
}

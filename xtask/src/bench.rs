//! `cargo xtask bench`: kyro-bench in its optimised build, with what each group needs built in or beside it.

use crate::{Outcome, tree};

/// Rivals that a group is nothing without. Building them takes minutes, once.
const FEATURES: &[(&str, &str)] =
    &[("engine", "rivals-engines"), ("wal", "rivals-engines"), ("index", "rivals-index")];

/// Groups that start the server.
const WITH_SERVER: &[&str] = &["http"];

/// Runs kyro-bench with `arguments`, unchanged, and its own standard streams.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let group = arguments.first().map_or("", String::as_str);
    if WITH_SERVER.contains(&group) {
        let status = tree::cargo().args(["build", "--release", "-p", "kyro-http"]).status()?;
        if !status.success() {
            return Err(format!("the server was not built: {status}").into());
        }
    }
    let mut cargo = tree::cargo();
    cargo.args(["run", "--release", "-p", "kyro-bench"]);
    if let Some(features) = features(group) {
        cargo.args(["--features", features]);
    }
    let status = cargo.arg("--").args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("kyro-bench ended with {status}").into()) }
}

/// The features of kyro-bench that a group needs.
fn features(group: &str) -> Option<&'static str> {
    FEATURES.iter().find(|(name, _)| *name == group).map(|(_, features)| *features)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_rivals() {
        assert_eq!(features("engine"), Some("rivals-engines"));
        assert_eq!(features("http"), None);
        let manifest = std::fs::read_to_string(tree::root().join("kyro-bench/Cargo.toml")).unwrap();
        for (group, features) in FEATURES {
            assert!(manifest.contains(&format!("\n{features} = [")), "{group} wants {features}");
        }
    }
}

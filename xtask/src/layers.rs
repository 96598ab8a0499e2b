//! `cargo xtask layers`: which crate may use which, and what every crate must carry.

use crate::Outcome;
use crate::packages::{Kind, Member, Packages, read};
use crate::reserved;
use crate::violation::{Violation, verdict};

/// Every permitted arrow between the crates of the workspace, for normal, build and dev-dependencies alike. A new
/// arrow is a change to this table, and is reviewed as one.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kyro-simd", &[]),
    ("kyro-rmi", &["kyro-simd"]),
    ("kyro-wal", &[]),
    ("kyro-snapshot", &[]),
    ("kyro-engine", &["kyro-simd", "kyro-rmi", "kyro-wal", "kyro-snapshot"]),
    ("kyro-http", &["kyro-engine"]),
    ("kyro-bench", &["kyro-simd", "kyro-rmi", "kyro-wal", "kyro-snapshot", "kyro-engine", "kyro-http"]),
    ("xtask", &[]),
];

/// Features that exist for tests: the crate, the feature, and who may turn it on outside `[dev-dependencies]`.
const TEST_FEATURES: &[(&str, &str, &[&str])] = &[("kyro-wal", "sim", &["kyro-bench"])];

/// Files that lie beside every Cargo.toml of a crate that is published or shown.
const FILES: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE"];

/// The one crate that is a tool of the workspace and needs no example or files of its own.
const TOOL: &str = "xtask";

/// Checks the workspace this tool was built in.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    crate::refuse_arguments(arguments)?;
    verdict(check(&read()?))
}

/// Every broken rule of `packages`.
fn check(packages: &Packages) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &packages.members {
        arrows(member, packages, &mut violations);
        test_features(member, &mut violations);
        kit(member, &mut violations);
    }
    for (row, uses) in ALLOWED {
        for name in std::iter::once(row).chain(*uses) {
            if !packages.members.iter().any(|member| member.name == *name) {
                violations.push(Violation::new(
                    "xtask/src/layers.rs",
                    format!("ALLOWED names {name}, which is no crate of the workspace"),
                    "take it out of the table",
                ));
            }
        }
    }
    violations.extend(reserved::check(packages));
    violations
}

/// The arrows from `member` to other crates of the workspace.
fn arrows(member: &Member, packages: &Packages, violations: &mut Vec<Violation>) {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == member.name) else {
        violations.push(Violation::new(
            place(member),
            "the crate has no row in ALLOWED",
            "add a row to ALLOWED in xtask/src/layers.rs that says which crates it may use",
        ));
        return;
    };
    for declared in &member.dependencies {
        let inside = packages.members.iter().any(|other| other.name == declared.name);
        // A crate may name itself in [dev-dependencies], to turn its own test features on.
        let own_tests = declared.kind == Kind::Dev && declared.name == member.name;
        if inside && !own_tests && !allowed.contains(&declared.name.as_str()) {
            let may =
                if allowed.is_empty() { "no crate of the workspace".to_owned() } else { allowed.join(", ") };
            violations.push(Violation::new(
                place(member),
                format!("{} may not use {}", member.name, declared.name),
                format!(
                    "take {} out of {}; {} may use {may} (the table is ALLOWED in xtask/src/layers.rs)",
                    declared.name,
                    declared.kind.table(),
                    member.name
                ),
            ));
        }
    }
}

/// Test-only features that `member` turns on for everyone.
fn test_features(member: &Member, violations: &mut Vec<Violation>) {
    for (owner, feature, users) in TEST_FEATURES {
        if users.contains(&member.name.as_str()) {
            continue;
        }
        let full_name = format!("{owner}/{feature}");
        let declared = member.dependencies.iter().any(|declared| {
            declared.name == *owner
                && declared.kind != Kind::Dev
                && declared.features.iter().any(|on| on == feature)
        });
        let by_default = member
            .default_features
            .iter()
            .any(|on| on.replace('?', "") == full_name || (member.name == *owner && on == feature));
        if declared || by_default {
            violations.push(Violation::new(
                place(member),
                format!("the test feature {full_name} is on in the product"),
                format!("turn {full_name} on under [dev-dependencies] only"),
            ));
        }
    }
}

/// What every crate carries: the workspace's lints and editions, a version of its own, its papers, an example.
fn kit(member: &Member, violations: &mut Vec<Violation>) {
    let mut report =
        |what: String, remedy: String| violations.push(Violation::new(place(member), what, remedy));
    if !member.manifest.inherits("lints") {
        report(
            "the workspace's lints are not inherited".to_owned(),
            "add\n        [lints]\n        workspace = true".to_owned(),
        );
    }
    if member.manifest.inherits("package.version") || !member.manifest.has("package.version") {
        report(
            "the crate has no version of its own".to_owned(),
            "write version = \"…\" in [package]; crates are versioned one by one".to_owned(),
        );
    }
    for key in ["edition", "rust-version"] {
        if !member.manifest.inherits(&format!("package.{key}")) {
            report(format!("{key} is not inherited"), format!("write {key}.workspace = true in [package]"));
        }
    }
    if member.name == TOOL {
        return;
    }
    for file in FILES {
        if !member.files.contains(*file) {
            report(format!("{file} is missing"), format!("write {}/{file}", member.name));
        }
    }
    if member.files.contains("README.md") && !member.readme.contains("```") {
        report(
            "README.md shows no example".to_owned(),
            "add a fenced example that runs as written".to_owned(),
        );
    }
    if member.examples == 0 {
        report("the crate has no example".to_owned(), format!("add {}/examples/….rs", member.name));
    }
}

/// Where a violation of `member` is reported.
fn place(member: &Member) -> String {
    format!("{}/Cargo.toml", member.name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::packages::Declared;
    use crate::violation::assert_only;

    const MANIFEST: &str = "[package]\nversion = \"0.1.0\"\nedition.workspace = true\n\
                            rust-version.workspace = true\n\n[lints]\nworkspace = true\n";

    /// A made-up crate that breaks no rule.
    pub(crate) fn sound(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            id: name.to_owned(),
            manifest: Manifest::parse(MANIFEST),
            dependencies: Vec::new(),
            default_features: Vec::new(),
            files: FILES.iter().map(|file| (*file).to_owned()).collect(),
            readme: "```rust\n```".to_owned(),
            examples: 1,
            tests: Vec::new(),
        }
    }

    /// A made-up workspace that breaks no rule: every crate of the table, with every arrow it may have.
    pub(crate) fn sound_packages() -> Packages {
        let mut packages = Packages::default();
        for (name, uses) in ALLOWED {
            let mut member = sound(name);
            member.dependencies = uses.iter().map(|used| declared(used, Kind::Normal)).collect();
            packages.members.push(member);
        }
        packages
    }

    pub(crate) fn declared(name: &str, kind: Kind) -> Declared {
        Declared { name: name.to_owned(), kind, features: Vec::new() }
    }

    /// The violations after one change to the crate `name` of the sound workspace.
    fn after(name: &str, change: impl FnOnce(&mut Member)) -> Vec<Violation> {
        let mut packages = sound_packages();
        change(packages.members.iter_mut().find(|member| member.name == name).unwrap());
        check(&packages)
    }

    #[test]
    fn this_workspace_keeps_its_layers() {
        if let Err(error) = run(&[]) {
            panic!("{error}");
        }
    }

    #[test]
    fn the_made_up_workspace_is_sound() {
        assert_eq!(check(&sound_packages()), []);
    }

    #[test]
    fn a_forbidden_arrow_is_reported_in_every_table() {
        for kind in [Kind::Normal, Kind::Build, Kind::Dev] {
            let found = after("kyro-rmi", |member| member.dependencies.push(declared("kyro-wal", kind)));
            assert_only(&found, &["kyro-rmi/Cargo.toml", "may not use kyro-wal", kind.table(), "ALLOWED"]);
        }
        let upward =
            after("kyro-engine", |member| member.dependencies.push(declared("kyro-http", Kind::Normal)));
        assert_only(&upward, &["kyro-engine may not use kyro-http"]);
        let past = after("kyro-http", |member| member.dependencies.push(declared("kyro-wal", Kind::Normal)));
        assert_only(&past, &["kyro-http may not use kyro-wal", "may use kyro-engine"]);
        let tool = after("xtask", |member| member.dependencies.push(declared("kyro-simd", Kind::Normal)));
        assert_only(&tool, &["xtask may not use kyro-simd", "no crate of the workspace"]);
    }

    #[test]
    fn nothing_uses_the_benchmarks_or_the_tool() {
        for (name, _) in ALLOWED {
            for target in ["kyro-bench", "xtask"] {
                if *name != target {
                    let found = after(name, |member| member.dependencies.push(declared(target, Kind::Dev)));
                    assert_only(&found, &[target]);
                }
            }
        }
    }

    #[test]
    fn a_crate_may_use_itself_in_its_tests_only() {
        let in_tests = after("kyro-wal", |member| member.dependencies.push(declared("kyro-wal", Kind::Dev)));
        assert_eq!(in_tests, []);
        let in_product =
            after("kyro-wal", |member| member.dependencies.push(declared("kyro-wal", Kind::Normal)));
        assert_only(&in_product, &["kyro-wal may not use kyro-wal"]);
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_reported() {
        let mut packages = sound_packages();
        packages.members.push(sound("kyro-new"));
        assert_only(&check(&packages), &["kyro-new/Cargo.toml", "no row"]);
        let mut packages = sound_packages();
        packages.members.retain(|member| member.name != "kyro-bench");
        assert_only(&check(&packages), &["kyro-bench", "no crate of the workspace"]);
    }

    #[test]
    fn a_test_feature_in_the_product_is_reported() {
        let sim = |kind| {
            let mut arrow = declared("kyro-wal", kind);
            arrow.features.push("sim".to_owned());
            arrow
        };
        assert_eq!(after("kyro-engine", |member| member.dependencies.push(sim(Kind::Dev))), []);
        assert_eq!(after("kyro-bench", |member| member.dependencies.push(sim(Kind::Normal))), []);
        let found = after("kyro-engine", |member| member.dependencies.push(sim(Kind::Normal)));
        assert_only(&found, &["kyro-engine", "kyro-wal/sim", "[dev-dependencies]"]);
        let found = after("kyro-engine", |member| member.default_features.push("kyro-wal/sim".to_owned()));
        assert_only(&found, &["kyro-wal/sim"]);
        let found = after("kyro-wal", |member| member.default_features.push("sim".to_owned()));
        assert_only(&found, &["kyro-wal/sim"]);
    }

    #[test]
    fn a_missing_lints_table_is_reported() {
        let found = after("xtask", |member| {
            member.manifest = Manifest::parse(&MANIFEST.replace("[lints]\nworkspace = true\n", ""));
        });
        assert_only(&found, &["xtask/Cargo.toml", "lints", "[lints]", "workspace = true"]);
    }

    #[test]
    fn borrowed_versions_and_own_editions_are_reported() {
        let cases = [
            ("version = \"0.1.0\"", "version.workspace = true", "version of its own"),
            ("version = \"0.1.0\"\n", "", "version of its own"),
            ("edition.workspace = true", "edition = \"2021\"", "edition is not inherited"),
            ("rust-version.workspace = true\n", "", "rust-version is not inherited"),
        ];
        for (from, to, what) in cases {
            let found =
                after("kyro-http", |member| member.manifest = Manifest::parse(&MANIFEST.replace(from, to)));
            assert_only(&found, &["kyro-http", what]);
        }
    }

    #[test]
    fn missing_papers_and_examples_are_reported_except_for_the_tool() {
        for file in FILES {
            let found = after("kyro-wal", |member| assert!(member.files.remove(*file)));
            assert_only(&found, &["kyro-wal", file, "is missing"]);
        }
        assert_only(&after("kyro-wal", |member| member.examples = 0), &["no example", "kyro-wal/examples"]);
        let bare = after("kyro-wal", |member| member.readme = "# kyro-wal\n".to_owned());
        assert_only(&bare, &["README.md shows no example"]);
        let tool = after("xtask", |member| {
            member.files.clear();
            member.examples = 0;
        });
        assert_eq!(tool, []);
    }
}

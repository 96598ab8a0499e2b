//! Outside packages that belong to certain crates: the network, the runtime and JSON stay where they are.

use crate::packages::{Kind, Member, Packages};
use crate::violation::Violation;

/// Outside packages that only some crates may use.
struct Reserved {
    packages: &'static [&'static str],
    users: &'static [&'static str],
    /// Whether a package that brings one of them along is refused too.
    brought_along: bool,
    reason: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        packages: &["tokio", "hyper", "hyper-util", "http-body-util", "axum", "prometheus-client"],
        users: &["kyro-http", "kyro-bench"],
        brought_along: true,
        reason: "the runtime, HTTP and the metrics registry live in kyro-http; below it there is plain Rust and threads",
    },
    Reserved {
        packages: &["serde", "serde_core", "serde_derive", "serde_json"],
        users: &["kyro-engine", "kyro-http", "kyro-bench", "xtask"],
        // Declared ones only: an outside package may have serde as a feature that another crate turns on.
        brought_along: false,
        reason: "the lower crates' formats are byte tables; JSON is for the engine's manifest and the server",
    },
];

/// Crates that are built from nothing but themselves and `core`.
const ALONE: &[&str] = &["kyro-simd"];

/// Every use of an outside package by a crate it is not for.
pub(crate) fn check(packages: &Packages) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in &packages.members {
        for row in RESERVED.iter().filter(|row| !row.users.contains(&member.name.as_str())) {
            for package in row.packages {
                violations.extend(one(member, package, row, packages));
            }
        }
        if ALONE.contains(&member.name.as_str()) {
            for declared in member.dependencies.iter().filter(|declared| declared.kind != Kind::Dev) {
                violations.push(Violation::new(
                    format!("{}/Cargo.toml", member.name),
                    format!("{} depends on {}", member.name, declared.name),
                    format!("take {} out: {} has no dependencies", declared.name, member.name),
                ));
            }
        }
    }
    violations
}

/// The violation, if any, of `member` using `package`, which `row` reserves for others.
fn one(member: &Member, package: &str, row: &Reserved, packages: &Packages) -> Option<Violation> {
    let place = format!("{}/Cargo.toml", member.name);
    if let Some(declared) = member.dependencies.iter().find(|declared| declared.name == package) {
        return Some(Violation::new(
            place,
            format!("{} may not use {package}", member.name),
            format!("take {package} out of {}: {}", declared.kind.table(), row.reason),
        ));
    }
    if !row.brought_along {
        return None;
    }
    let way = packages.graph.way(&member.id, package);
    let first = way.first()?;
    // A way through another crate of the workspace is that crate's violation.
    if packages.members.iter().any(|other| other.name == *first) {
        return None;
    }
    Some(Violation::new(
        place,
        format!("{} brings {package} along: {} → {}", member.name, member.name, way.join(" → ")),
        format!("replace {first}, or turn the feature off that needs {package}: {}", row.reason),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::tests::{declared, sound_packages};
    use crate::violation::assert_only;

    /// The sound workspace with `name` declaring `package` as `kind`.
    fn with(name: &str, package: &str, kind: Kind) -> Packages {
        let mut packages = sound_packages();
        let member = packages.members.iter_mut().find(|member| member.name == name).unwrap();
        member.dependencies.push(declared(package, kind));
        packages
    }

    #[test]
    fn the_network_stays_in_the_server() {
        for name in ["kyro-wal", "kyro-snapshot", "kyro-rmi", "kyro-engine"] {
            for kind in [Kind::Normal, Kind::Build, Kind::Dev] {
                for package in ["tokio", "hyper", "prometheus-client"] {
                    let found = check(&with(name, package, kind));
                    assert_only(&found, &[name, package, kind.table(), "kyro-http"]);
                }
            }
        }
        for name in ["kyro-http", "kyro-bench"] {
            assert_eq!(check(&with(name, "tokio", Kind::Normal)), []);
        }
    }

    #[test]
    fn json_stays_out_of_the_lower_crates() {
        assert_only(
            &check(&with("kyro-wal", "serde_json", Kind::Normal)),
            &["kyro-wal may not use serde_json"],
        );
        assert_eq!(check(&with("kyro-engine", "serde_json", Kind::Normal)), []);
    }

    #[test]
    fn a_runtime_brought_along_is_reported_with_the_way_it_came() {
        let mut packages = with("kyro-engine", "nice-store", Kind::Normal);
        for (name, uses) in [
            ("kyro-engine", vec!["nice-store"]),
            ("nice-store", vec!["nice-net"]),
            ("nice-net", vec!["tokio", "nice-store"]),
            ("tokio", vec![]),
            ("kyro-http", vec!["kyro-engine", "tokio"]),
        ] {
            let uses = uses.into_iter().map(str::to_owned).collect();
            packages.graph.nodes.insert(name.to_owned(), (name.to_owned(), uses));
        }
        assert_only(
            &check(&packages),
            &["kyro-engine → nice-store → nice-net → tokio", "replace nice-store"],
        );
    }

    #[test]
    fn a_way_through_a_lower_crate_is_reported_there_only() {
        let mut packages = with("kyro-wal", "tokio", Kind::Normal);
        for (name, uses) in
            [("kyro-engine", vec!["kyro-wal"]), ("kyro-wal", vec!["tokio"]), ("tokio", vec![])]
        {
            let uses = uses.into_iter().map(str::to_owned).collect();
            packages.graph.nodes.insert(name.to_owned(), (name.to_owned(), uses));
        }
        assert_only(&check(&packages), &["kyro-wal may not use tokio"]);
    }

    #[test]
    fn the_kernels_stand_alone() {
        assert_only(&check(&with("kyro-simd", "libc", Kind::Normal)), &["kyro-simd depends on libc"]);
        assert_eq!(check(&with("kyro-simd", "proptest", Kind::Dev)), []);
    }
}

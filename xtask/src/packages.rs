//! The crates of the workspace as plain data: what they declare, what they reach, what lies beside their Cargo.toml.

use crate::manifest::Manifest;
use crate::tree;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::process::Command;

/// The crates of the workspace, and every package they are built from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packages {
    pub(crate) members: Vec<Member>,
    pub(crate) graph: Graph,
}

/// One crate of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its key in the graph.
    pub(crate) id: String,
    pub(crate) manifest: Manifest,
    pub(crate) dependencies: Vec<Declared>,
    /// The features on by default, and what they turn on.
    pub(crate) default_features: Vec<String>,
    /// The names of the files beside its Cargo.toml.
    pub(crate) files: BTreeSet<String>,
    /// The text of its README.md; empty when there is none.
    pub(crate) readme: String,
    pub(crate) examples: usize,
    /// The names of its integration tests.
    pub(crate) tests: Vec<String>,
}

/// One line of a dependency table.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) features: Vec<String>,
}

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Kind {
    /// The table of Cargo.toml it stands in.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Normal => "[dependencies]",
            Self::Build => "[build-dependencies]",
            Self::Dev => "[dev-dependencies]",
        }
    }
}

/// Which package is built with which, dev-dependencies left out; outside packages included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// By id: the name, and the ids of what it uses.
    pub(crate) nodes: BTreeMap<String, (String, Vec<String>)>,
}

impl Graph {
    /// The shortest way from `id` to a package called `name`, as names from the first used to the last; empty when
    /// there is none.
    pub(crate) fn way(&self, id: &str, name: &str) -> Vec<String> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut waiting = std::collections::VecDeque::from([id]);
        while let Some(at) = waiting.pop_front() {
            let Some((own_name, uses)) = self.nodes.get(at) else { continue };
            if own_name == name && at != id {
                return self.names_back(&came_from, at, id);
            }
            for next in uses {
                if next != id && !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, at);
                    waiting.push_back(next);
                }
            }
        }
        Vec::new()
    }

    fn names_back(&self, came_from: &BTreeMap<&str, &str>, last: &str, first: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = last;
        while at != first {
            names.extend(self.nodes.get(at).map(|(name, _)| name.clone()));
            match came_from.get(at) {
                Some(before) => at = before,
                None => break,
            }
        }
        names.reverse();
        names
    }
}

/// Asks cargo about the workspace this tool was built in.
pub(crate) fn read() -> Result<Packages, Box<dyn Error>> {
    // Without the filter cargo would fetch packages that only other systems need.
    let metadata = MetadataCommand::new()
        .current_dir(tree::root())
        .other_options(["--filter-platform".to_owned(), host()?])
        .exec()?;
    let members = metadata.workspace_packages().into_iter().map(member).collect::<Result<_, _>>()?;
    Ok(Packages { members, graph: graph(&metadata) })
}

/// The target triple of this machine, as rustc names it.
fn host() -> Result<String, Box<dyn Error>> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("`rustc -vV` names no host")?.to_owned())
}

fn member(package: &Package) -> Result<Member, Box<dyn Error>> {
    let manifest_path = package.manifest_path.as_std_path();
    let dir = manifest_path.parent().ok_or("a Cargo.toml without a directory")?;
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        // Through links: a dangling LICENSE is no LICENSE.
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            files.insert(name.to_string_lossy().into_owned());
        }
    }
    let readme =
        if files.contains("README.md") { fs::read_to_string(dir.join("README.md"))? } else { String::new() };
    let dependencies = package
        .dependencies
        .iter()
        .map(|dependency| Declared {
            name: dependency.name.clone(),
            kind: match dependency.kind {
                DependencyKind::Development => Kind::Dev,
                DependencyKind::Build => Kind::Build,
                _ => Kind::Normal,
            },
            features: dependency.features.clone(),
        })
        .collect();
    Ok(Member {
        name: package.name.to_string(),
        id: package.id.to_string(),
        manifest: Manifest::parse(&fs::read_to_string(manifest_path)?),
        dependencies,
        default_features: package.features.get("default").cloned().unwrap_or_default(),
        files,
        readme,
        examples: package.targets.iter().filter(|target| target.is_example()).count(),
        tests: package
            .targets
            .iter()
            .filter(|target| target.is_test())
            .map(|target| target.name.clone())
            .collect(),
    })
}

fn graph(metadata: &Metadata) -> Graph {
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
    let mut nodes = BTreeMap::new();
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        let uses = node
            .deps
            .iter()
            .filter(|dep| dep.dep_kinds.iter().any(|info| info.kind != DependencyKind::Development))
            .map(|dep| dep.pkg.to_string())
            .collect();
        let name = names.get(&node.id).cloned().unwrap_or_default();
        nodes.insert(node.id.to_string(), (name, uses));
    }
    Graph { nodes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_describes_this_workspace() {
        let packages = read().unwrap();
        let xtask = packages.members.iter().find(|member| member.name == "xtask").unwrap();
        assert!(
            xtask
                .dependencies
                .iter()
                .any(|declared| declared.name == "sha2" && declared.kind == Kind::Normal)
        );
        assert!(xtask.files.contains("Cargo.toml"));
        assert_eq!(packages.graph.way(&xtask.id, "serde_json").last().unwrap(), "serde_json");
        assert!(packages.graph.way(&xtask.id, "no-such-package").is_empty());
    }
}

//! The working tree: its root, its files, and `cargo` run inside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The root of the workspace, the directory that holds Cargo.lock.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The cargo that runs this process, started in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// One file of the project.
#[derive(Debug, Clone)]
pub(crate) struct ProjectFile {
    /// From the root, with `/` between components.
    pub(crate) path: String,
    /// Its text, or nothing when it is not UTF-8.
    pub(crate) text: Option<String>,
}

impl ProjectFile {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }
}

/// The files of the project and the names at its top level.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// Every file: known to git, or new and not ignored.
    pub(crate) files: Vec<ProjectFile>,
    /// Top-level names that git tracks. What a person leaves lying in their clone is their own business.
    pub(crate) top_level: Vec<String>,
}

impl Tree {
    /// Reads the tree at `root`. Without a usable git repository there (an unpacked archive, a clone that belongs to
    /// another user) every file below it counts, except under `target` and `data`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let listed = git_files(root, &["--cached", "--others"]).zip(git_files(root, &["--cached"]));
        let (paths, tracked) = if let Some(listed) = listed {
            listed
        } else {
            let mut all = Vec::new();
            walk(root, "", &mut all)?;
            (all.clone(), all)
        };
        let mut top_level: Vec<String> =
            tracked.iter().filter_map(|path| path.split('/').next().map(str::to_owned)).collect();
        top_level.sort();
        top_level.dedup();
        let mut files = Vec::new();
        for path in paths {
            match fs::read(root.join(&path)) {
                Ok(bytes) => files.push(ProjectFile { path, text: String::from_utf8(bytes).ok() }),
                // Tracked, and just removed; or a link to a directory.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("cannot read {path}: {error}")));
                }
            }
        }
        Ok(Self { files, top_level })
    }
}

/// The files git lists with `options`, ignored ones left out; nothing when git cannot answer for `root`.
fn git_files(root: &Path, options: &[&str]) -> Option<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--exclude-standard"])
        .args(options)
        .output()
        .ok()?;
    if !output.status.success() || !root.join(".git").exists() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Collects every file below `root/below`, as paths from `root`.
fn walk(root: &Path, below: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if matches!(name.as_str(), ".git" | "target") || (below.is_empty() && name == "data") {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_holds_this_file_and_not_the_build() {
        let tree = Tree::read(&root()).unwrap();
        let this = tree.files.iter().find(|file| file.path == "xtask/src/tree.rs").unwrap();
        assert!(this.text.as_ref().unwrap().contains("the_tree_holds_this_file"));
        assert!(!tree.files.iter().any(|file| file.path.starts_with("target/")));
        assert!(tree.top_level.iter().any(|name| name == "Cargo.toml"), "{:?}", tree.top_level);
    }

    #[test]
    fn a_walk_finds_what_git_finds() {
        let mut walked = Vec::new();
        walk(&root(), "xtask", &mut walked).unwrap();
        assert!(walked.iter().any(|path| path == "xtask/Cargo.toml"), "{walked:?}");
        assert!(!walked.iter().any(|path| path.contains("/target/")), "{walked:?}");
    }
}

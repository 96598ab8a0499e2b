//! What `cargo metadata` does not tell about a Cargo.toml: which keys it inherits from the workspace.

use std::collections::BTreeMap;

/// The `key = value` lines of a Cargo.toml, by dotted path (`package.edition.workspace`).
///
/// Reads one-line values only, which is how every key asked for here is written; a key spelled in a way this reader
/// does not know counts as absent, so a check on it fails rather than passes.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    values: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut values = BTreeMap::new();
        let mut table = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                table = format!("{}.", name.trim());
            } else if let Some((key, value)) = line.split_once('=') {
                let value = value.split(" #").next().unwrap_or(value).trim();
                values.insert(format!("{table}{}", key.trim()), value.to_owned());
            }
        }
        Self { values }
    }

    /// Whether `path` (`package.edition`, `lints`) is taken from the workspace, in any of its three spellings.
    pub(crate) fn inherits(&self, path: &str) -> bool {
        let dotted = self.values.get(&format!("{path}.workspace")).is_some_and(|value| value == "true");
        let inline = self.values.get(path).is_some_and(|value| {
            value.trim_matches(['{', '}', ' ']).split(',').any(|entry| {
                entry
                    .split_once('=')
                    .is_some_and(|(key, value)| (key.trim(), value.trim()) == ("workspace", "true"))
            })
        });
        dotted || inline
    }

    /// The value of `path` as it is written here, quotes included.
    pub(crate) fn value(&self, path: &str) -> Option<&str> {
        self.values.get(path).map(String::as_str)
    }

    /// Whether `path` has a value here, its own or inherited.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.values.contains_key(path) || self.inherits(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_inheritance_is_seen() {
        for text in [
            "[lints]\nworkspace = true",
            "lints.workspace = true",
            "lints = { workspace = true }",
            "[lints]\nworkspace = true # all of them",
        ] {
            assert!(Manifest::parse(text).inherits("lints"), "{text}");
        }
        assert!(Manifest::parse("[package]\nedition.workspace = true").inherits("package.edition"));
    }

    #[test]
    fn what_is_not_inherited_is_not_claimed() {
        for text in [
            "",
            "[lints]\nworkspace = false",
            "[lints.rust]\nunsafe_code = \"allow\"",
            "# [lints]\n# workspace = true",
            "[dependencies]\nlints = { workspace = false }",
        ] {
            assert!(!Manifest::parse(text).inherits("lints"), "{text}");
        }
        assert!(!Manifest::parse("[package]\nedition = \"2024\"").inherits("package.edition"));
        assert!(Manifest::parse("[package]\nversion = \"1.0.0\"").has("package.version"));
    }
}

//! The list of golden files: every byte sequence a release ever wrote, by path and SHA-256.
//!
//! The list only grows. It is in the format of `sha256sum`, so `sha256sum --check xtask/golden.sha256` agrees with
//! this module.

use crate::violation::Violation;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The list, from the root of the workspace.
pub(crate) const LIST: &str = "xtask/golden.sha256";

/// Every golden file lies in such a directory of its crate.
const DIRECTORY: &str = "/tests/golden/";

/// What to do about a format that changed.
pub(crate) const NEW_VERSION: &str = "a format that changes gets a new version number and a new golden file beside the old one, \
                           which stays: `cargo xtask formats --add FILE`";

/// The list as read: path to SHA-256 in hex.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List {
    entries: BTreeMap<String, String>,
}

impl List {
    /// Reads the list. A line that is no entry, or a path listed twice, is an error that names the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let place = format!("{LIST}:{}", index + 1);
            let (sum, path) = line
                .split_once("  ")
                .filter(|(sum, path)| sum.len() == 64 && is_golden(path))
                .ok_or_else(|| format!("{place}: not `SHA-256  CRATE{DIRECTORY}FILE`: {line:?}"))?;
            if entries.insert(path.to_owned(), sum.to_owned()).is_some() {
                return Err(format!("{place}: {path} is listed twice; keep its first line"));
            }
        }
        Ok(Self { entries })
    }

    /// The line that adds `path` with `bytes`; refused when it is listed already or is no golden file.
    pub(crate) fn new_line(&self, path: &str, bytes: &[u8]) -> Result<String, String> {
        if !is_golden(path) {
            return Err(format!("{path} is no golden file: those lie in CRATE{DIRECTORY}"));
        }
        if self.entries.contains_key(path) {
            return Err(format!(
                "{path} is listed already, and an entry is never overwritten; {NEW_VERSION}"
            ));
        }
        Ok(format!("{}  {path}\n", sum(bytes)))
    }

    /// Every way in which `files`, path to bytes, differs from the list.
    pub(crate) fn check(&self, files: &BTreeMap<String, Vec<u8>>) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (path, listed) in &self.entries {
            let what = match files.get(path) {
                None => "the golden file is missing".to_owned(),
                Some(bytes) if sum(bytes) != *listed => {
                    format!("the golden file has changed: it is {}, listed as {listed}", sum(bytes))
                }
                Some(_) => continue,
            };
            violations.push(Violation::new(
                path,
                what,
                format!("bring the old file back (git); {NEW_VERSION}"),
            ));
        }
        for path in files.keys().filter(|path| !self.entries.contains_key(*path)) {
            violations.push(Violation::new(
                path,
                "the golden file is not listed",
                format!("list it, once its bytes are final: cargo xtask formats --add {path}"),
            ));
        }
        violations
    }
}

/// Whether `path`, from the root of the workspace, names a golden file.
pub(crate) fn is_golden(path: &str) -> bool {
    let inside = path.split_once(DIRECTORY);
    inside.is_some_and(|(crate_name, file)| !crate_name.contains('/') && !file.is_empty())
        && !path.contains("/../")
}

/// The SHA-256 of `bytes` in lowercase hex.
fn sum(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 0xf] {
            hex.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::assert_only;

    const PATH: &str = "kyro-wal/tests/golden/v1-one-frame.wal";
    const BYTES: &[u8] = b"abc";
    /// The SHA-256 of `abc`, from FIPS 180-2.
    const SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn list() -> List {
        List::parse(&format!("{SUM}  {PATH}\n")).unwrap()
    }

    fn files(entries: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
        entries.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect()
    }

    #[test]
    fn an_unchanged_file_passes() {
        assert_eq!(list().check(&files(&[(PATH, BYTES)])), []);
    }

    #[test]
    fn a_changed_file_fails() {
        let found = list().check(&files(&[(PATH, b"abd")]));
        assert_only(&found, &[PATH, "has changed", SUM, "new version number", "--add"]);
    }

    #[test]
    fn a_missing_file_fails() {
        assert_only(&list().check(&files(&[])), &[PATH, "is missing", "bring the old file back"]);
    }

    #[test]
    fn an_unlisted_file_fails() {
        let new = "kyro-wal/tests/golden/v2/one-frame.wal";
        let found = list().check(&files(&[(PATH, BYTES), (new, b"new")]));
        assert_only(
            &found,
            &["is not listed", "cargo xtask formats --add kyro-wal/tests/golden/v2/one-frame.wal"],
        );
    }

    #[test]
    fn a_new_line_is_what_the_list_reads() {
        let line = List::default().new_line(PATH, BYTES).unwrap();
        assert_eq!(line, format!("{SUM}  {PATH}\n"));
        assert_eq!(List::parse(&line).unwrap(), list());
    }

    #[test]
    fn an_entry_is_never_overwritten() {
        for bytes in [BYTES, b"other bytes"] {
            let error = list().new_line(PATH, bytes).unwrap_err();
            assert!(error.contains("listed already") && error.contains("new version number"), "{error}");
        }
    }

    #[test]
    fn only_golden_files_are_listed() {
        for path in
            ["README.md", "kyro-wal/tests/golden/", "/kyro-wal/tests/golden/a", "a/tests/golden/../../b"]
        {
            assert!(List::default().new_line(path, BYTES).is_err(), "{path}");
        }
        assert!(is_golden("kyro-engine/tests/golden/v1/MANIFEST"));
    }

    #[test]
    fn a_damaged_list_is_refused_with_its_line() {
        let good = format!("{SUM}  {PATH}\n");
        for (second, what) in [("nonsense", ":2: not"), ("", ":2: not"), (good.trim_end(), ":2: ")] {
            let error = List::parse(&format!("{good}{second}\n")).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}

//! docs/formats against the modules that encode: a table that stands in both says the same in both.

use std::collections::BTreeSet;
use std::fs;

use crate::tree::root;

/// Each page, and the modules whose tables it has.
const PAGES: &[(&str, &[&str])] = &[
    (
        "log-segment",
        &[
            "kyro-wal/src/format.rs",
            "kyro-wal/src/format/header.rs",
            "kyro-wal/src/format/frame.rs",
            "kyro-wal/src/format/footer.rs",
        ],
    ),
    ("payload", &["kyro-engine/src/batch.rs"]),
    ("run", &["kyro-snapshot/src/format.rs", "kyro-snapshot/src/locator.rs", "kyro-snapshot/src/packed.rs"]),
    (
        "index",
        &[
            "kyro-rmi/src/format.rs",
            "kyro-rmi/src/entry.rs",
            "kyro-rmi/src/line.rs",
            "kyro-rmi/src/fence.rs",
            "kyro-rmi/src/tree.rs",
            "kyro-rmi/src/leaf.rs",
        ],
    ),
    ("binary-frame", &["kyro-http/src/frame.rs"]),
];

/// The rows of a text's tables, each with single spaces and without links, rules between head and body aside.
fn rows<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain =
        |line: &str| line.replace("[`crate::", "").replace("[`", "").replace("`]", "").replace('`', "");
    lines
        .filter(|line| line.starts_with('|') && !line.contains("---"))
        .map(|line| words(&plain(line)))
        .collect()
}

fn rows_of_module(path: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let comments = text.lines().map(str::trim_start);
    rows(comments.filter_map(|line| line.strip_prefix("//! ").or_else(|| line.strip_prefix("/// "))))
}

#[test]
fn every_page_has_the_tables_of_its_modules_and_no_others() {
    for (page, modules) in PAGES {
        let path = format!("docs/formats/{page}.md");
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let found = rows(text.lines());
        let encoded: BTreeSet<String> = modules.iter().flat_map(|module| rows_of_module(module)).collect();
        assert!(encoded.len() >= 4, "{modules:?}");
        let missing: Vec<_> = encoded.difference(&found).collect();
        let stale: Vec<_> = found.difference(&encoded).collect();
        assert!(missing.is_empty() && stale.is_empty(), "{path} lacks {missing:#?} and still has {stale:#?}");
    }
}

#[test]
fn the_manifests_page_names_every_field() {
    let page = fs::read_to_string(root().join("docs/formats/manifest.md")).unwrap_or_default();
    let golden = root().join("kyro-engine/tests/golden/v1/MANIFEST");
    let manifest =
        fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
    // Names of JSON members stand between a quote and `":`.
    let names = manifest.split("\":").filter_map(|part| part.rsplit('"').next());
    let names: BTreeSet<&str> =
        names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect();
    assert!(names.len() >= 12, "{names:?}");
    for field in names {
        let is_named = page.contains(&format!(".{field}")) || page.contains(&format!("`{field}`"));
        assert!(is_named || field == "body", "docs/formats/manifest.md lacks {field}");
    }
}

//! Files as facts: the golden files word for word, and no garbage that stops it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use kyro_engine::{Durability, Engine, Fact, InspectError, InspectOptions, Inspection, inspect};

/// Every frozen file of the workspace.
fn golden() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for dir in ["kyro-wal", "kyro-snapshot", "kyro-rmi", "kyro-engine"] {
        collect(&root.join(dir).join("tests/golden"), &mut files);
    }
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name == "MANIFEST" || [".wal", ".run", ".rmi", ".idx"].iter().any(|ending| name.ends_with(ending))
    };
    files.retain(ours);
    files.sort();
    files
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn all() -> InspectOptions {
    let mut options = InspectOptions::default();
    options.items = true;
    options.limit = 20;
    options
}

fn look(path: &Path) -> Inspection {
    inspect(path, &all()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_golden_files_are_frozen_as_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = golden();
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let inspection = look(&path);
        let name = path.strip_prefix(root).unwrap().to_string_lossy().replace("tests/golden/", "");
        // An index is a cache: its version may change, and its facts with it.
        if inspection.kind == "index" {
            assert_eq!(inspection.tables.len(), 2, "{inspection}");
            continue;
        }
        assert!(inspection.damage.is_empty(), "{inspection}");
        let text = inspection.to_string();
        let (_, text) = text.split_once(": ").unwrap();
        insta::assert_snapshot!(name.replace(['/', '.'], "-"), format!("{name}: {text}"));
    }
}

#[test]
fn what_is_a_file_is_told_by_its_first_bytes_or_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for path in golden() {
        let expected = look(&path);
        let copy = dir.path().join("a copy");
        fs::copy(&path, &copy).unwrap();
        let found = look(&copy);
        assert_eq!(
            (found.kind, found.tables, found.damage),
            (expected.kind, expected.tables, expected.damage)
        );
        let ending = path
            .extension()
            .map_or("MANIFEST".to_owned(), |ending| format!("0000000000000001.{}", ending.to_string_lossy()));
        let named = dir.path().join(ending);
        let mut bytes = fs::read(&path).unwrap();
        bytes[..8].fill(b'?');
        fs::write(&named, &bytes).unwrap();
        let found = look(&named);
        assert_eq!(found.kind, expected.kind);
        assert!(!found.damage.is_empty(), "{found}");
    }
    let other = dir.path().join("other");
    fs::write(&other, "hello").unwrap();
    assert!(matches!(inspect(&other, &all()), Err(InspectError::Unknown { .. })));
    assert!(matches!(inspect(dir.path().join("none"), &all()), Err(InspectError::Io { .. })));
}

#[test]
fn a_limit_cuts_the_list_and_not_the_count() {
    let path = golden().into_iter().find(|path| path.ends_with("v1-mixed.run")).unwrap();
    let mut options = all();
    options.limit = 3;
    let inspection = inspect(&path, &options).unwrap();
    let entries = inspection.tables.iter().find(|table| table.name == "entries").unwrap();
    assert_eq!((entries.rows.len(), entries.total), (3, 60));
    assert!(inspection.to_string().contains("and 57 more"), "{inspection}");
    options.items = false;
    let inspection = inspect(&path, &options).unwrap();
    assert!(inspection.tables.iter().all(|table| table.name != "entries"));
}

/// The same numbers at every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 24
}

#[test]
fn garbage_never_stops_it_and_a_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 1;
    let (mut cases, mut noticed) = (0, 0);
    for path in golden() {
        let whole = fs::read(&path).unwrap();
        let used = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let copy = dir.path().join(path.file_name().unwrap());
        for case in 0..150 {
            let mut bytes = whole.clone();
            match case % 3 {
                0 => {
                    let bit = random(&mut state) as usize % (used * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                1 => bytes.truncate(random(&mut state) as usize % used),
                _ => {
                    let at = random(&mut state) as usize % used;
                    let end = (at + 1 + random(&mut state) as usize % 600).min(used);
                    bytes[at..end].iter_mut().for_each(|byte| *byte = random(&mut state) as u8);
                }
            }
            fs::write(&copy, &bytes).unwrap();
            cases += 1;
            match inspect(&copy, &all()) {
                Ok(inspection) => {
                    noticed += u64::from(!inspection.damage.is_empty() && !inspection.to_string().is_empty());
                }
                Err(InspectError::Unknown { .. }) => noticed += 1,
                Err(other) => panic!("{}: {other}", path.display()),
            }
        }
    }
    for name in ["0000000000000001.wal", "1.run", "1.idx", "MANIFEST"] {
        for len in [0, 1, 100, 255, 256, 4096, 5000, 40_000] {
            let bytes: Vec<u8> = (0..len).map(|_| random(&mut state) as u8).collect();
            fs::write(dir.path().join(name), &bytes).unwrap();
            assert!(!look(&dir.path().join(name)).damage.is_empty(), "{name} of {len} random bytes");
        }
    }
    println!("inspect: {cases} damages, {noticed} noticed");
    assert!(noticed * 100 >= cases * 95, "{noticed} of {cases}");
}

#[test]
fn deleted_ranges_are_shown_in_the_manifest_and_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = kyro_engine::Options::default();
    options.durability = Durability::Never;
    options.auto_flush = false;
    let engine = Engine::open(dir.path(), options).unwrap();
    engine.put(12, "gone").unwrap();
    engine.flush().unwrap();
    engine.delete_range(10..=u64::MAX).unwrap();
    engine.put(15, "again").unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();

    let manifest = look(&dir.path().join("MANIFEST"));
    let ranges = manifest.tables.iter().find(|table| table.name == "deleted ranges").unwrap();
    let row = vec![Fact::Number(10), Fact::Number(u64::MAX), Fact::Number(1), Fact::Text("1".to_owned())];
    assert_eq!((&ranges.rows, ranges.total), (&vec![row], 1));
    assert!(manifest.to_string().contains("still hides in runs"), "{manifest}");
    let segment = look(&dir.path().join("wal/0000000000000001.wal"));
    assert!(segment.to_string().contains(&format!("delete 10 to {}", u64::MAX)), "{segment}");
}

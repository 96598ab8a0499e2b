//! `kyro-http verify`: a whole directory, a damaged one, one in use; and that it changes nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use running::{Ended, Server, command, ended, fresh};
use serde_json::Value;

/// A directory with a run, its index and a log, closed cleanly.
fn filled(dir: &Path) {
    let server = Server::start(dir);
    for key in 0..50 {
        server.put(key, &"v".repeat(500));
    }
    server.post("/v1/snapshot", "");
    for key in 50..100 {
        server.put(key, &"w".repeat(500));
    }
    assert_eq!(server.stop().0, 0);
}

fn verify(dir: &Path, more: &[&str]) -> Ended {
    ended(command().env("RUST_LOG", "warn").arg("verify").arg(dir).args(more))
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Every file but the lock, in which the pid changes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if path.file_name().unwrap() != "LOCK" {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

fn file(dir: &Path, ending: &str) -> PathBuf {
    contents(dir).into_keys().find(|path| path.to_string_lossy().ends_with(ending)).unwrap()
}

#[test]
fn a_whole_directory_is_found_whole() {
    let (_parent, dir) = fresh();
    filled(&dir);
    let before = contents(&dir);
    let text = verify(&dir, &[]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    assert!(
        text.stdout.contains("50 entries in runs") && text.stdout.contains("nothing is wrong"),
        "{text:?}"
    );
    let found = json(&ended(command().arg("verify").arg("--json").env("KYRODB_DATA_DIR", &dir)));
    assert_eq!(
        (&found["ok"], &found["entries"], &found["repair_command"]),
        (&true.into(), &50.into(), &Value::Null)
    );
    assert!(found["operations"].as_u64().unwrap() >= 50, "{found}");
    assert_eq!(contents(&dir), before, "verify changes nothing");
}

#[test]
fn damage_is_named_with_file_byte_and_the_command_to_paste() {
    let (parent, _) = fresh();
    let dir = parent.path().join("my data");
    filled(&dir);
    for (ending, at, loses_data, meaning) in [
        ("0001.run", 5000, true, "the others can"),
        ("0001.idx", 300, false, "no data is lost"),
        ("MANIFEST", 60, true, "open refuses"),
        (".wal", 4200, true, "open refuses"),
    ] {
        let path = if ending == ".wal" {
            let logs = contents(&dir).into_keys().filter(|path| path.to_string_lossy().ends_with(".wal"));
            logs.max().unwrap()
        } else {
            file(&dir, ending)
        };
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, &bad).unwrap();
        let before = contents(&dir);
        let text = verify(&dir, &[]);
        assert_eq!(text.code, 4, "{text:?}");
        assert!(text.stdout.contains(&format!("{}: damaged at byte", path.display())), "{}", text.stdout);
        assert!(
            text.stdout.contains(meaning) && text.stdout.contains("1 file is damaged"),
            "{}",
            text.stdout
        );
        let command = format!("kyro-http repair '{0}' --into '{0}.repaired'", dir.display());
        assert_eq!(text.stdout.contains(&command), loses_data, "{}", text.stdout);
        let found = json(&verify(&dir, &["--json"]));
        let damage = found["damage"].as_array().unwrap();
        assert_eq!((&found["ok"], damage.len()), (&false.into(), 1), "{found}");
        assert_eq!(damage[0]["file"], path.to_str().unwrap());
        assert_eq!(damage[0]["loses_data"], loses_data);
        assert!(damage[0]["offset"].as_u64().unwrap() <= at as u64, "{found}");
        assert_eq!(contents(&dir), before, "verify changes nothing");
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(verify(&dir, &[]).code, 0);
}

#[test]
fn a_directory_in_use_or_of_something_else() {
    let (parent, dir) = fresh();
    let server = Server::start(&dir);
    let locked = verify(&dir, &[]);
    assert_eq!(locked.code, 5, "{locked:?}");
    assert!(
        locked.stderr.contains(&format!("pid {}", server.pid())) && locked.stdout.is_empty(),
        "{locked:?}"
    );
    server.stop();
    for other in [parent.path().join("none"), parent.path().to_owned()] {
        let refused = verify(&other, &["--json"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(other.to_str().unwrap()), "{refused:?}");
    }
    assert!(!parent.path().join("none").exists() && !parent.path().join("LOCK").exists());
}

//! `kyro-http repair`: the command that a refusal tells its reader to paste, and what its exit code and report say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Ended, Server, command, ended, fresh};
use serde_json::Value;

/// Keys 0 to 50 in a run, 51 to 59 in the log, which no longer has what the run holds.
fn filled(dir: &Path) {
    let server = Server::start(dir);
    for key in 0..50 {
        server.put(key, &format!("{key} {}", "v".repeat(500)));
    }
    assert_eq!(server.stop().0, 0);
    let server = Server::start(dir);
    server.put(50, "in the run");
    server.post("/v1/snapshot", "");
    for key in 51..60 {
        server.put(key, "in the log");
    }
    assert_eq!(server.stop().0, 0);
}

fn repair(dir: &Path, into: &Path, more: &[&str]) -> Ended {
    ended(command().env("RUST_LOG", "warn").arg("repair").arg(dir).arg("--into").arg(into).args(more))
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn run_file(dir: &Path) -> PathBuf {
    dir.join("runs/0000000000000001.run")
}

#[test]
fn nothing_wrong_nothing_lost() {
    let (parent, dir) = fresh();
    filled(&dir);
    let into = parent.path().join("new");
    let done = repair(&dir, &into, &["--json"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let report = json(&done);
    assert_eq!(
        (&report["lossless"], &report["keys"], &report["next_offset"]),
        (&true.into(), &60.into(), &60.into())
    );
    let server = Server::start(&into);
    assert_eq!(server.next_offset(), 60);
    assert_eq!(server.get("/v1/get_fast/55").text(), "in the log");
    assert!(server.get("/v1/get_fast/7").text().starts_with("7 vv"));
    server.stop();
    let taken = repair(&dir, &into, &[]);
    assert_eq!(taken.code, 2, "{taken:?}");
    assert!(taken.stderr.contains("is not empty"), "{taken:?}");
    let inside = repair(&dir, &dir.join("new"), &[]);
    assert_eq!(inside.code, 2, "{inside:?}");
}

#[test]
fn the_command_of_a_refusal_can_be_pasted_and_names_what_is_lost() {
    let (parent, _) = fresh();
    let dir = parent.path().join("it's my data");
    filled(&dir);
    let mut bytes = fs::read(run_file(&dir)).unwrap();
    bytes[6000] ^= 1;
    fs::write(run_file(&dir), &bytes).unwrap();
    let found = ended(command().env("RUST_LOG", "warn").arg("verify").arg(&dir));
    assert_eq!(found.code, 4, "{found:?}");
    let pasted = found.stdout.lines().last().unwrap().trim();
    assert!(pasted.starts_with("kyro-http repair "), "{found:?}");
    let pasted = pasted.replacen("kyro-http", env!("CARGO_BIN_EXE_kyro-http"), 1);
    let done = ended(Command::new("sh").arg("-c").arg(format!("{pasted} --json")));
    assert_eq!(done.code, 4, "{done:?}");
    let report = json(&done);
    let lost = report["lost_keys"].as_array().unwrap();
    assert!(lost.len() > 10 && lost.len() < 30, "{report}");
    assert_eq!(
        (&lost[0]["key"], &lost[0]["offset"], &lost[0]["older_offset"]),
        (&0.into(), &0.into(), &Value::Null)
    );
    let into = dir.with_file_name("it's my data.repaired");
    let server = Server::start(&into);
    for key in 0..60 {
        let gone = lost.iter().any(|lost| lost["key"] == key);
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).status, if gone { 404 } else { 200 }, "{key}");
    }
    server.stop();
    assert_eq!(ended(command().arg("verify").arg(&into)).code, 0);
    let text = repair(&dir, &parent.path().join("again"), &[]);
    assert_eq!(text.code, 4);
    assert!(
        text.stdout.contains("lost: key 0 of offset 0 in ") && text.stdout.contains("named above was lost"),
        "{text:?}"
    );
}

#[test]
fn a_directory_in_use_or_of_something_else_or_without_anything_left() {
    let (parent, dir) = fresh();
    let into = parent.path().join("new");
    let server = Server::start(&dir);
    let locked = repair(&dir, &into, &[]);
    assert_eq!(locked.code, 5, "{locked:?}");
    assert!(locked.stderr.contains(&format!("pid {}", server.pid())), "{locked:?}");
    server.stop();
    let other = parent.path().join("other");
    fs::create_dir(&other).unwrap();
    assert_eq!(repair(&other, &into, &[]).code, 1);
    for file in ["MANIFEST", "wal/0000000000000001.wal"] {
        fs::write(dir.join(file), vec![7; 5000]).unwrap();
    }
    let nothing = repair(&dir, &into, &[]);
    assert_eq!(nothing.code, 4, "{nothing:?}");
    assert!(nothing.stderr.contains("restore a backup"), "{nothing:?}");
    assert!(!into.exists() && !other.join("LOCK").exists());
}

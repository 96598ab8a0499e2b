//! The command at a terminal: bars that move, a question before something is destroyed, colours unless `NO_COLOR` is set.
//!
//! The terminal is that of `script` (util-linux). Where there is none the test says so and ends.

#![expect(clippy::print_stdout, reason = "what is skipped is said")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use running::{Server, command, ended, fresh};

/// Runs shell text at a terminal on which `typed` is typed; gives the exit code and what the terminal got.
fn at_terminal(text: &str, typed: &str) -> Option<(Option<i32>, String)> {
    let program = env!("CARGO_BIN_EXE_kyro-http");
    let shell = text.replace("kyro-http", program);
    let mut script = Command::new("script");
    script.args(["-qec", &shell, "/dev/null"]).env_remove("NO_COLOR").env("RUST_LOG", "warn");
    script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = script.spawn() else {
        println!("skipped: there is no script (Debian: apt-get install bsdutils)");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let typed = typed.to_owned();
    // The terminal stays until the command has ended: closing it early would answer the question with nothing.
    let typing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stdin.write_all(typed.as_bytes()).ok();
        stdin
    });
    let output = child.wait_with_output().unwrap();
    drop(typing.join());
    Some((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn a_range_is_removed_when_the_person_says_yes() {
    let (_parent, dir) = fresh();
    let place = dir.display().to_string();
    for key in ["1", "2", "3"] {
        assert_eq!(ended(command().args(["put", key, "v", "--data-dir", &place])).code, 0);
    }
    let keys = || ended(command().args(["scan", "--keys-only", "--data-dir", &place])).stdout;
    let removal = format!("kyro-http del --from 2 --to 9 --data-dir '{place}'");
    let Some((code, said)) = at_terminal(&removal, "no\n") else { return };
    assert!(said.contains("this removes 2 keys, from 2 to 9. Type yes to go on: "), "{said}");
    assert!(code == Some(2) && said.contains("nothing was done"), "{code:?} {said}");
    assert_eq!(keys(), "1\n2\n3\n");
    let (code, said) = at_terminal(&removal, "yes\n").unwrap();
    assert!(code == Some(0) && said.contains("2 keys from 2 to 9 removed"), "{code:?} {said}");
    assert_eq!(keys(), "1\n");
}

#[test]
fn a_load_shows_a_bar_on_a_terminal_and_lines_elsewhere() {
    let (parent, dir) = fresh();
    let place = dir.display().to_string();
    let file = parent.path().join("in.ndjson");
    fs::write(&file, "{\"key\":1,\"value\":\"one\"}\nno record\n").unwrap();
    // The end of the input takes its time, so that there is something to watch.
    let slow = |verb: &str| format!("(cat '{}'; sleep 1.5) | {verb}", file.display());
    let load = slow(&format!("kyro-http load - --format ndjson --data-dir '{place}'"));
    let Some((code, said)) = at_terminal(&load, "") else { return };
    assert_eq!(code, Some(1), "one line is bad: {said}");
    assert!(said.contains("line 2: ") && said.contains("loaded 1 of 1 records"), "{said}");
    assert!(said.contains("read, ") && said.contains('\r'), "no bar: {said:?}");
    // Without a terminal the same is told line by line, and no line is drawn over.
    let shell = load.replace("kyro-http", env!("CARGO_BIN_EXE_kyro-http"));
    let output = Command::new("sh").args(["-c", &shell]).env("RUST_LOG", "warn").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("load: ") && told.contains("bytes read, "), "{told}");
    assert!(!told.contains('\r') && !told.contains('\x1b'), "{told:?}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let top = format!("kyro-http top --once --interval 0.1 --url http://{}", server.address);
    let Some((code, said)) = at_terminal(&top, "") else { return };
    assert!(code == Some(0) && said.contains("\x1b[32mserving"), "{code:?} {said:?}");
    let (code, said) = at_terminal(&format!("NO_COLOR=1 {top}"), "").unwrap();
    assert!(code == Some(0) && said.contains("serving") && !said.contains("\x1b[3"), "{code:?} {said:?}");
}

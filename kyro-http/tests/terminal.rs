//! The command at a terminal: bars that move, a question before something is destroyed, colours unless `NO_COLOR` is set.
//!
//! The terminal is that of `script` (util-linux). Where there is none the test says so and ends.

#![expect(clippy::print_stdout, reason = "what is skipped is said")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::fs;
use std::io::{Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use running::{PATIENCE, Server, command, ended, fresh, wait_until};

/// Runs shell text at a terminal, and does something when the terminal has got the `awaited` text; gives the exit code
/// and what the terminal got.
fn at_terminal(
    text: &str,
    awaited: &str,
    then: impl FnOnce(&mut ChildStdin),
) -> Option<(Option<i32>, String)> {
    let program = env!("CARGO_BIN_EXE_kyro-http");
    let shell = text.replace("kyro-http", program);
    let mut script = Command::new("script");
    script.args(["-qec", &shell, "/dev/null"]).env_remove("NO_COLOR").env("RUST_LOG", "warn");
    script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = script.spawn() else {
        println!("skipped: there is no script (Debian: apt-get install bsdutils)");
        return None;
    };
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, pieces) = channel();
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = stdout.read(&mut piece) {
            let _gone = sender.send(piece[..read].to_vec());
        }
    });
    let (mut said, start) = (Vec::new(), Instant::now());
    while !String::from_utf8_lossy(&said).contains(awaited) {
        // Where it does not come, the text that did tells why.
        let Ok(piece) = pieces.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) else { break };
        said.extend(piece);
    }
    then(&mut stdin);
    said.extend(pieces.iter().flatten());
    // The terminal stays until the command has ended: closing it early would answer the question with nothing.
    let status = child.wait().unwrap();
    drop(stdin);
    Some((status.code(), String::from_utf8_lossy(&said).into_owned()))
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
    let asked = "this removes 2 keys, from 2 to 9. Type yes to go on: ";
    let answer = |typed: &'static str| {
        at_terminal(&removal, asked, move |terminal| terminal.write_all(typed.as_bytes()).unwrap())
    };
    let Some((code, said)) = answer("no\n") else { return };
    assert!(said.contains(asked), "{said}");
    assert!(code == Some(2) && said.contains("nothing was done"), "{code:?} {said}");
    assert_eq!(keys(), "1\n2\n3\n");
    let (code, said) = answer("yes\n").unwrap();
    assert!(code == Some(0) && said.contains("2 keys from 2 to 9 removed"), "{code:?} {said}");
    assert_eq!(keys(), "1\n");
}

#[test]
fn a_load_shows_a_bar_on_a_terminal_and_lines_elsewhere() {
    let (parent, dir) = fresh();
    let place = dir.display().to_string();
    let file = parent.path().join("in.ndjson");
    fs::write(&file, "{\"key\":1,\"value\":\"one\"}\nno record\n").unwrap();
    // The end of the input waits for somebody who opens the pipe, so that there is something to watch.
    let pipe = parent.path().join("pipe");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()) {
        println!("skipped: there is no mkfifo on this machine");
        return;
    }
    let end = || drop(fs::File::options().write(true).open(&pipe).unwrap());
    let load = format!(
        "cat '{}' '{}' | kyro-http load - --format ndjson --data-dir '{place}'",
        file.display(),
        pipe.display()
    );
    let Some((code, said)) = at_terminal(&load, "read, ", |_| end()) else { return };
    assert_eq!(code, Some(1), "one line is bad: {said}");
    assert!(said.contains("line 2: ") && said.contains("loaded 1 of 1 records"), "{said}");
    assert!(said.contains("read, ") && said.contains('\r'), "no bar: {said:?}");
    // Without a terminal the same is told line by line, and no line is drawn over.
    let shell = load.replace("kyro-http", env!("CARGO_BIN_EXE_kyro-http"));
    let log = parent.path().join("log");
    let mut loading = Command::new("sh")
        .args(["-c", &shell])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = || fs::read_to_string(&log).unwrap();
    wait_until("a line of progress", || told().contains("bytes read, "));
    end();
    assert_eq!(loading.wait().unwrap().code(), Some(1), "one line is bad");
    let told = told();
    assert!(told.contains("load: ") && told.contains("bytes read, "), "{told}");
    assert!(!told.contains('\r') && !told.contains('\x1b'), "{told:?}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let top = format!("kyro-http top --once --interval 0.1 --url http://{}", server.address);
    let Some((code, said)) = at_terminal(&top, "", |_| ()) else { return };
    assert!(code == Some(0) && said.contains("\x1b[32mserving"), "{code:?} {said:?}");
    let (code, said) = at_terminal(&format!("NO_COLOR=1 {top}"), "", |_| ()).unwrap();
    assert!(code == Some(0) && said.contains("serving") && !said.contains("\x1b[3"), "{code:?} {said:?}");
}

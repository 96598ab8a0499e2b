//! The server's end while answers and bodies are on their way: what is finished, what is cut, and that a client never
//! takes a part for the whole.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use running::{Connection, PATIENCE, Server, command, ended, fresh};

const KEYS: u64 = 20_000;

/// A server with more than the buffers between it and a client hold.
fn filled(dir: &Path, drain_timeout: &str) -> Server {
    let server = Server::start_with(dir, &["--drain-timeout", drain_timeout]);
    let value = "v".repeat(1000);
    let lines: String = (0..KEYS).map(|key| format!("{{\"key\":{key},\"value\":\"{value}\"}}\n")).collect();
    assert_eq!(server.post("/v1/load", lines).json()["loaded"], KEYS);
    server
}

/// A scan of everything whose answer has begun.
fn scan(server: &Server) -> Connection {
    let mut connection = server.connect();
    connection.stream.write_all(b"GET /v1/scan HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    connection
}

/// Reads to the proper end; the lines with a value, or how it broke off.
fn lines(connection: &mut Connection) -> std::io::Result<u64> {
    let mut text = Vec::new();
    while let Some(chunk) = connection.chunk()? {
        text.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(text).unwrap().lines().filter(|line| line.contains("\"value\"")).count() as u64)
}

/// Waits until the server says that it stops.
fn draining(server: &Server, probe: &mut Connection) {
    server.signal("TERM");
    let start = Instant::now();
    // The probe's connection is idle: it is closed when the drain begins.
    while probe.try_request("GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200) {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_scan_under_way_is_finished() {
    let (_parent, dir) = fresh();
    let server = filled(&dir, "60");
    let mut probe = server.connect();
    let mut scanning = scan(&server);
    draining(&server, &mut probe);
    assert_eq!(lines(&mut scanning).unwrap(), KEYS);
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("cutting"), "{log}");
}

#[test]
fn a_scan_that_nobody_reads_is_cut_and_is_no_whole() {
    let (_parent, dir) = fresh();
    let server = filled(&dir, "1");
    let mut probe = server.connect();
    let mut scanning = scan(&server);
    draining(&server, &mut probe);
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("cutting the connections"), "{log}");
    assert!(lines(&mut scanning).is_err(), "what was cut has no end");
    assert_eq!(Server::start(&dir).get("/v1/count").json()["count"], KEYS);
}

#[test]
fn a_second_signal_ends_streams_at_once_and_as_a_part() {
    let (_parent, dir) = fresh();
    let server = filled(&dir, "600");
    let mut probe = server.connect();
    let mut scanning = scan(&server);
    draining(&server, &mut probe);
    let (code, log) = server.signal_until_gone("TERM");
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("a second signal"), "{log}");
    assert!(lines(&mut scanning).is_err(), "what was cut has no end");
    assert_eq!(Server::start(&dir).get("/v1/count").json()["count"], KEYS);
}

#[test]
fn change_streams_are_told_where_to_go_on() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "60"]);
    let offset = server.put(1, "x");
    let mut changes = server.connect();
    let request = b"GET /v1/changes?since=0&stream=true HTTP/1.1\r\nhost: localhost\r\n\r\n";
    changes.stream.write_all(request).unwrap();
    assert_eq!(changes.head().unwrap().status, 200);
    // A poll that waits for what does not come.
    let mut polling = server.connect();
    assert_eq!(polling.request("GET", "/livez", &[], b"").status, 200, "it is accepted before the signal");
    let request = b"GET /v1/changes?since=1&wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    polling.stream.write_all(request).unwrap();
    let mut text = String::new();
    while !text.contains('\n') {
        text.push_str(&String::from_utf8(changes.chunk().unwrap().unwrap()).unwrap());
    }
    server.signal("TERM");
    while let Some(chunk) = changes.chunk().unwrap() {
        text.push_str(&String::from_utf8(chunk).unwrap());
    }
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["end"], &last["resume"]), (&"shutdown".into(), &(offset + 1).into()), "{text}");
    let polled = polling.raw(b"").unwrap();
    assert_eq!((polled.status, &polled.json()["next"]), (200, &(offset + 1).into()), "{}", polled.text());
    assert_eq!(server.wait().0, 0);
}

fn data_set(sets: &Path, name: &str, letter: &str) -> PathBuf {
    std::fs::create_dir_all(sets).unwrap();
    let file = sets.join(format!("{name}.ndjson"));
    let lines: String =
        (0..KEYS).map(|key| format!("{{\"key\":{key},\"value\":\"{letter}{key}\"}}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let dir = sets.join(name);
    let built = ended(command().env("RUST_LOG", "warn").arg("build").arg(&file).arg("--data-dir").arg(&dir));
    assert_eq!(built.code, 0, "{built:?}");
    dir
}

/// A push that is broken off anywhere leaves the one content or the other, whole.
#[test]
fn a_push_under_way_is_whole_or_not_there() {
    let (parent, dir) = fresh();
    let sets = parent.path().join("sets");
    data_set(&sets, "a", "a");
    data_set(&sets, "b", "b");
    let root = sets.to_str().unwrap();
    for (round, second) in [(0, false), (1, false), (2, true), (3, true)] {
        let server = Server::start_with(&dir, &["--push-root", root, "--drain-timeout", "60"]);
        assert_eq!(server.post("/v1/push", r#"{"name":"a"}"#).status, 200);
        let mut pushing = server.connect();
        let body = r#"{"name":"b"}"#;
        let head =
            format!("POST /v1/push HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        pushing.stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(3 * round));
        server.signal("TERM");
        if second {
            std::thread::sleep(Duration::from_millis(260));
            // It may have ended already.
            let _either =
                std::process::Command::new("kill").arg("-TERM").arg(server.pid().to_string()).status();
        }
        let answered = pushing.raw(b"").map(|answer| answer.status);
        let (code, log) = server.wait();
        assert!(code == 0 || second && code == 1, "{code}: {log}");
        let server = Server::start_with(&dir, &["--push-root", root]);
        let letter = server.get("/v1/get_fast/0").text().chars().next().unwrap();
        if let Ok(200) = answered {
            assert_eq!(letter, 'b', "it was acknowledged");
        }
        let scanned = server.get("/v1/scan").text();
        assert_eq!(scanned.lines().filter(|line| line.contains(&format!("\"{letter}"))).count() as u64, KEYS);
        assert_eq!(server.get("/v1/count").json()["count"], KEYS);
        assert_eq!(server.stop().0, 0);
    }
}

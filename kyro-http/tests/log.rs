//! The log under attack: lines that clients try to forge, and a place that takes no more lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use running::{Connection, PATIENCE, Server, fresh};

/// A line as the log has them, with what a forger would want to be believed.
const FORGED: &str = "2026-01-01T00:00:00.000000Z  INFO request request_id=FORGED client=10.9.8.7 status=200";

#[test]
fn no_client_writes_a_line_of_its_own() {
    for form in ["text", "json"] {
        let (_parent, dir) = fresh();
        let server = Server::start_with(
            &dir,
            &["--log", form, "--access-log", "all", "--trusted-proxies", "127.0.0.1"],
        );
        let encoded = FORGED.replace(' ', "%20");
        let mut raws: Vec<Vec<u8>> = Vec::new();
        for breaks in [
            "\r\n",
            "\n",
            "\r",
            "\u{1b}[2J",
            "\u{85}",
            "\u{2028}",
            "\0",
            "\"",
            "\\n",
            "\\\"",
            "%0a",
            "%0d%0a",
        ] {
            for (method, target, header) in [
                ("GET", format!("/v1/get_fast/1{breaks}{encoded}"), String::new()),
                ("GET", format!("/{breaks}{encoded}"), String::new()),
                ("GET", format!("/v1/lookup?key=1{breaks}{encoded}"), String::new()),
                ("GET", format!("/v1/lookup?{breaks}{encoded}=1"), String::new()),
                ("GET", "/v1/offset".to_owned(), format!("x-request-id: a{breaks}{FORGED}\r\n")),
                ("GET", "/v1/nothing".to_owned(), format!("x-request-id: a{breaks}{FORGED}\r\n")),
                ("GET", "/v1/offset".to_owned(), format!("x-forwarded-for: 1.2.3.4{breaks}{FORGED}\r\n")),
                ("GET", "/v1/offset".to_owned(), format!("forwarded: for=\"1.2.3.4{breaks}{FORGED}\"\r\n")),
                ("GET", "/v1/offset".to_owned(), format!("user-agent: {breaks}{FORGED}\r\n")),
                ("GET", "/v1/kv/1".to_owned(), format!("if-match: \"{breaks}{FORGED}\"\r\n")),
                ("FORGED", "/v1/offset".to_owned(), String::new()),
                ("GE\"T", "/v1/offset".to_owned(), String::new()),
            ] {
                let raw = format!(
                    "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n"
                );
                raws.push(raw.into_bytes());
            }
            let line = format!("a{breaks}{FORGED}");
            for (method, target, body) in [
                ("POST", "/v1/put", serde_json::json!({ "key": line, "value": line }).to_string()),
                ("POST", "/v1/put", serde_json::json!({ "key": 1, (line.clone()): 1 }).to_string()),
                ("POST", "/v1/batch", serde_json::json!([{ "op": line, "key": 1 }]).to_string()),
                ("POST", "/v1/backup", serde_json::json!({ "name": line }).to_string()),
                ("POST", "/v1/push", serde_json::json!({ "name": line, "label": line }).to_string()),
                ("POST", "/v1/load", line.clone()),
            ] {
                let length = body.len();
                let head = format!(
                    "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                );
                raws.push([head.as_bytes(), body.as_bytes()].concat());
            }
        }
        let sent = raws.len();
        for raw in raws {
            let mut connection = server.connect();
            // Refused while it is being sent, perhaps: what counts is the log.
            let _either = connection.raw(&raw);
        }
        assert_eq!(server.get("/livez").status, 200);
        let (code, log) = server.stop();
        assert_eq!(code, 0, "{log}");
        assert!(!log.contains("FORGED") && !log.contains("10.9.8.7"), "{log}");
        for line in log.lines() {
            let whole = match form {
                "json" => serde_json::from_str::<serde_json::Value>(line)
                    .is_ok_and(|line| line["level"].is_string()),
                _ => line.get(..5).is_some_and(|start| start.starts_with("20") && start.ends_with('-')),
            };
            assert!(whole, "not a line of the log: {line:?}");
            assert!(line.chars().all(|char| !char.is_control()), "{line:?}");
        }
        let answered = log.lines().filter(|line| line.contains("/v1/") || line.contains("unknown")).count();
        assert!(answered > sent / 2, "{answered} of {sent} were logged");
    }
}

/// A server that logs every request to this file, and where it listens.
fn logging_to(dir: &Path, log: impl Into<Stdio>) -> (Child, SocketAddr) {
    let mut command = running::command();
    command.args(["serve", "127.0.0.1", "0", "--access-log", "all", "--data-dir"]).arg(dir);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    (child, address.unwrap_or_else(|| panic!("the server did not start: {line:?}")).parse().unwrap())
}

fn serves_and_stops(mut child: Child, address: SocketAddr) {
    for key in 0..50 {
        let mut connection = Connection::open(address).unwrap();
        assert_eq!(connection.put(key, "x"), key);
        assert_eq!(connection.request("GET", &format!("/v1/get_fast/{key}"), &[], b"").body, b"x");
        assert_eq!(connection.request("GET", "/v1/nothing", &[], b"").status, 404);
    }
    assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "the server does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_log_that_takes_no_more_lines_stops_nothing() {
    // Every write to it fails with ENOSPC.
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let (_parent, dir) = fresh();
    let (child, address) = logging_to(&dir, full);
    serves_and_stops(child, address);
}

#[test]
fn a_log_whose_reader_has_left_stops_nothing() {
    let (_parent, dir) = fresh();
    let (mut child, address) = logging_to(&dir, Stdio::piped());
    let mut log = child.stderr.take().unwrap();
    log.read_exact(&mut [0; 10]).unwrap();
    drop(log);
    serves_and_stops(child, address);
}

#[test]
fn a_message_that_nobody_can_read_leaves_the_exit_code() {
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let (parent, dir) = fresh();
    let serve = |dir: &Path| {
        let mut command = running::command();
        command.args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(dir);
        command.stdout(Stdio::null()).stderr(full.try_clone().unwrap()).status().unwrap().code()
    };
    let file = parent.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(serve(&file), Some(1), "no directory");
    let (server, _) = logging_to(&dir, Stdio::null());
    assert_eq!(serve(&dir), Some(5), "another process has it");
    let mut server = server;
    server.kill().unwrap();
    server.wait().unwrap();

    // The same of every verb: what it says beside its data is lost, what it ends with is not.
    let nowhere = parent.path().join("nowhere");
    let records = parent.path().join("records.ndjson");
    std::fs::write(&records, "{\"key\":1,\"value\":\"x\"}\nnot a record\n").unwrap();
    let verb = |verb: &str, rest: &[&Path]| {
        let mut command = running::command();
        command.arg(verb).args(rest).stdout(Stdio::null()).stderr(full.try_clone().unwrap());
        command.status().unwrap().code()
    };
    let data_dir = Path::new("--data-dir");
    assert_eq!(verb("verify", &[&nowhere]), Some(1));
    assert_eq!(verb("inspect", &[&nowhere]), Some(1));
    assert_eq!(verb("repair", &[&nowhere, Path::new("--into"), &parent.path().join("copy")]), Some(1));
    assert_eq!(verb("load", &[&records, data_dir, &nowhere]), Some(1), "a bad line was counted");
    assert_eq!(verb("get", &[Path::new("2"), data_dir, &nowhere]), Some(3), "no such key");
    assert_eq!(verb("get", &[Path::new("1"), data_dir, &nowhere]), Some(0), "what was read is there");
}

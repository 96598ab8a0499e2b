//! Stopping: what is under way is finished, streams are told, nothing acknowledged is lost, the mark is left.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use running::{Connection, Server, events, fresh};
use serde_json::json;

/// Writers that put their own keys, one after the other, until the server is gone; each gives what was acknowledged.
/// Every request that was sent before the signal must be answered.
fn write_until_gone(
    server: &Server,
    writers: u64,
    stop_after: Duration,
    stop: impl FnOnce(&Server),
) -> Vec<Vec<(u64, u64)>> {
    let address = server.address;
    let signalled = OnceLock::new();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..writers)
            .map(|writer| {
                let signalled = &signalled;
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    let mut connection = Connection::open(address).unwrap();
                    for n in 0_u64.. {
                        let key = n * writers + writer;
                        let body = format!(r#"{{"key":{key},"value":"value of {key}"}}"#);
                        let length = body.len();
                        let request = format!(
                            "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
                        );
                        let written = connection.stream.write_all(request.as_bytes());
                        let sent = Instant::now();
                        match written.and_then(|()| connection.raw(b"")) {
                            Ok(answer) if answer.status == 200 => {
                                acknowledged.push((key, answer.json()["offset"].as_u64().unwrap()));
                            }
                            Ok(answer) => {
                                assert_eq!(answer.code(), "draining");
                                break;
                            }
                            Err(error) => {
                                assert!(
                                    signalled.get().is_some_and(|at| sent >= *at),
                                    "a request sent before the signal was not answered: {error}"
                                );
                                break;
                            }
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        std::thread::sleep(stop_after);
        signalled.set(Instant::now()).unwrap();
        stop(server);
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

#[test]
fn draining_under_load_loses_nothing_acknowledged_and_leaves_the_clean_mark() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "20"]);
    let start = Instant::now();
    let acknowledged =
        write_until_gone(&server, 16, Duration::from_millis(700), |server| server.signal("TERM"));
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "writers on keep-alive connections do not hold the drain up"
    );
    assert!(log.contains("stopped"), "{log}");

    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("MANIFEST")).unwrap()).unwrap();
    assert!(manifest["body"]["clean"].is_object(), "the mark of a clean stop: {manifest}");
    let server = Server::start(&dir);
    let mut connection = server.connect();
    let (mut count, mut offsets) = (0_u64, Vec::new());
    for (key, offset) in acknowledged.into_iter().flatten() {
        let found = connection.request("GET", &format!("/v1/get_fast/{key}"), &[], b"");
        assert_eq!((found.status, found.text()), (200, format!("value of {key}")), "{key}");
        let found = connection.request("GET", &format!("/v1/lookup_fast/{key}"), &[], b"");
        assert_eq!(found.body, offset.to_le_bytes(), "{key}");
        offsets.push(offset);
        count += 1;
    }
    assert!(count > 50, "only {count} writes: the load was none");
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len() as u64, count, "no offset is given twice");
}

/// Requests lie in the sockets of many connections when the signal comes: each is answered, none is reset.
#[test]
fn what_lies_in_the_sockets_when_the_signal_comes_is_answered() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "20"]);
    let mut connections: Vec<Connection> = (0..300).map(|_| server.connect()).collect();
    for connection in &mut connections {
        assert_eq!(connection.request("GET", "/livez", &[], b"").status, 200);
    }
    server.signal("STOP");
    for (key, connection) in connections.iter_mut().enumerate() {
        let request = format!("PUT /v1/kv/{key} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx");
        connection.stream.write_all(request.as_bytes()).unwrap();
    }
    // The server finds the signal and three hundred requests at once.
    server.signal("TERM");
    server.signal("CONT");
    for (key, connection) in connections.iter_mut().enumerate() {
        let answer = connection.raw(b"").unwrap_or_else(|error| panic!("request {key} is lost: {error}"));
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(server.wait().0, 0);
    assert_eq!(Server::start(&dir).get("/v1/count").json()["count"], 300);
}

#[test]
fn idle_connections_are_closed_and_streams_are_told() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "x");
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "/v1/offset", &[], b"").status, 200);
    let mut stream = server.connect();
    Write::write_all(&mut stream.stream, b"GET /v1/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    assert_eq!(events(&mut stream, |found| !found.is_empty()).len(), 1);
    let start = Instant::now();
    server.signal("TERM");
    let rest = events(&mut stream, |_| false);
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!((rest[0].name.as_str(), &rest[0].data), ("shutdown", &json!({"resume": 1})));
    assert!(idle.closes_within(Duration::from_secs(10)));
    assert_eq!(server.wait().0, 0);
    assert!(start.elapsed() < Duration::from_secs(10), "nothing was left to wait for");
}

#[test]
fn a_request_that_does_not_end_is_cut_when_the_time_is_over() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "0.5"]);
    let mut endless = server.connect();
    let head = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"key\"";
    Write::write_all(&mut endless.stream, head).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    let (code, log) = server.stop();
    assert_eq!(code, 0, "{log}");
    assert!(start.elapsed() >= Duration::from_millis(500) && start.elapsed() < Duration::from_secs(10));
    assert!(log.contains("cutting the connections"), "{log}");
}

#[test]
fn readiness_ends_before_the_server_does() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "5"]);
    let mut probe = server.connect();
    assert_eq!(probe.request("GET", "/readyz", &[], b"").status, 200);
    // A request under way keeps its connection: the probe sent behind it is answered while the server drains.
    let head = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 21\r\n\r\n{\"key\":1,";
    Write::write_all(&mut probe.stream, head).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    let finished = probe.raw(b"\"value\":\"x\"}").unwrap();
    assert_eq!(
        (finished.status, finished.text().as_str()),
        (200, r#"{"offset":0}"#),
        "it was begun, so it is finished"
    );
    assert_eq!(finished.header("connection"), Some("close"));
    assert_eq!(server.wait().0, 0);
    let server = Server::start(&dir);
    assert_eq!(server.get("/v1/get_fast/1").text(), "x");
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing_acknowledged() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "600"]);
    let mut endless = server.connect();
    let head = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"key\"";
    Write::write_all(&mut endless.stream, head).unwrap();
    let acknowledged =
        write_until_gone(&server, 4, Duration::from_millis(300), |server| server.signal("INT"));
    std::thread::sleep(Duration::from_millis(300)); // sooner, it would be the same signal
    let start = Instant::now();
    server.signal("INT");
    let (code, _) = server.wait();
    assert_eq!(code, 1);
    assert!(start.elapsed() < Duration::from_secs(5));
    let server = Server::start(&dir);
    for (key, _) in acknowledged.into_iter().flatten() {
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).text(), format!("value of {key}"));
    }
}

#[test]
fn a_signal_sent_twice_at_once_is_one() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let pid = server.pid().to_string();
    // `kill` takes the same process twice; a server that is gone by then is no error here.
    let _sent = std::process::Command::new("kill").args(["-TERM", &pid, &pid]).status();
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn the_server_stops_while_it_is_busy_with_long_work() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "30"]);
    let mut connection = server.connect();
    for key in 0..200 {
        connection.put(key, &"v".repeat(1000));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| {
            let answer = server.connect().try_request("POST", "/v1/compact", &[], b"");
            done.store(true, Ordering::SeqCst);
            answer
        });
        std::thread::sleep(Duration::from_millis(10));
        server.signal("TERM");
        if let Ok(answer) = snapshot.join().unwrap() {
            assert!(answer.status == 200 || answer.code() == "draining", "{answer:?}");
        }
    });
    assert_eq!(server.wait().0, 0);
    assert_eq!(Server::start(&dir).get("/v1/get_fast/199").body.len(), 1000);
}

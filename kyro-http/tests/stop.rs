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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use running::{Connection, PATIENCE, Server, events, fresh};
use serde_json::json;

/// Writers that put their own keys, one after the other, until the server is gone; each gives what was acknowledged.
/// Every request that was sent before the signal must be answered. The signal comes when so many writes are acknowledged.
fn write_until_gone(
    server: &Server,
    writers: u64,
    stop_after: u64,
    stop: impl FnOnce(&Server),
) -> Vec<Vec<(u64, u64)>> {
    let mut connections: Vec<Connection> = (0..writers).map(|_| server.connect()).collect();
    for connection in &mut connections {
        let answer = connection.request("GET", "/livez", &[], b"");
        assert_eq!(answer.status, 200, "it is accepted before the signal");
    }
    let signalled = OnceLock::new();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..writers)
            .zip(connections)
            .map(|(writer, mut connection)| {
                let (signalled, count) = (&signalled, &count);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
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
                                count.fetch_add(1, Ordering::Relaxed);
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
        // The writers end with the server: it is told to stop also where they write too little.
        let start = Instant::now();
        while count.load(Ordering::Relaxed) < stop_after && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        signalled.set(Instant::now()).unwrap();
        stop(server);
        let acknowledged: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        let count = count.load(Ordering::Relaxed);
        assert!(count >= stop_after, "only {count} writes: the load was none");
        acknowledged
    })
}

#[test]
fn draining_under_load_loses_nothing_acknowledged_and_leaves_the_clean_mark() {
    let (_parent, dir) = fresh();
    // Writers on keep-alive connections do not hold the drain up: nobody would wait so long.
    let server = Server::start_with(&dir, &["--drain-timeout", "600"]);
    let acknowledged = write_until_gone(&server, 16, 200, |server| server.signal("TERM"));
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopped") && !log.contains("cutting"), "{log}");

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
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len() as u64, count, "no offset is given twice");
}

/// Requests lie in the sockets of many connections when the signal comes: each is answered, none is reset.
#[test]
fn what_lies_in_the_sockets_when_the_signal_comes_is_answered() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "600"]);
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
    let server = Server::start_with(&dir, &["--drain-timeout", "600"]);
    server.put(1, "x");
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "/v1/offset", &[], b"").status, 200);
    let mut stream = server.connect();
    Write::write_all(&mut stream.stream, b"GET /v1/subscribe HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    assert_eq!(events(&mut stream, |found| !found.is_empty()).len(), 1);
    server.signal("TERM");
    let rest = events(&mut stream, |_| false);
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!((rest[0].name.as_str(), &rest[0].data), ("shutdown", &json!({"resume": 1})));
    assert!(idle.closes_within(PATIENCE));
    // Nothing was left to wait for.
    let (code, log) = server.wait();
    assert!(code == 0 && !log.contains("cutting"), "{code}: {log}");
}

#[test]
fn a_request_that_does_not_end_is_cut_when_the_time_is_over() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "0.5"]);
    let mut endless = server.connect();
    let head = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"key\"";
    Write::write_all(&mut endless.stream, head).unwrap();
    server.works_on(1);
    let start = Instant::now();
    let (code, log) = server.stop();
    assert_eq!(code, 0, "{log}");
    // Sooner than without the flag: the default is 30 s.
    assert!(start.elapsed() >= Duration::from_millis(500) && start.elapsed() < Duration::from_secs(25));
    assert!(log.contains("cutting the connections"), "{log}");
}

#[test]
fn readiness_ends_before_the_server_does() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "600"]);
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "/livez", &[], b"").status, 200);
    let mut probe = server.connect();
    assert_eq!(probe.request("GET", "/readyz", &[], b"").status, 200);
    // A request under way keeps its connection: the probe sent behind it is answered while the server drains.
    let head = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 21\r\n\r\n{\"key\":1,";
    Write::write_all(&mut probe.stream, head).unwrap();
    server.works_on(1);
    server.signal("TERM");
    // The drain has begun when it closes a connection on which nothing is under way; one by one all are told.
    assert!(idle.closes_within(PATIENCE));
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
    server.works_on(1);
    let acknowledged = write_until_gone(&server, 4, 20, |server| server.signal("INT"));
    let (code, log) = server.signal_until_gone("INT");
    assert_eq!(code, 1, "{log}");
    let server = Server::start(&dir);
    for (key, _) in acknowledged.into_iter().flatten() {
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).text(), format!("value of {key}"));
    }
}

#[test]
fn a_signal_sent_twice_at_once_is_one() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    // A server that stands still finds both when it goes on. Two of a kind would be one signal already for the system.
    server.signal("STOP");
    server.signal("TERM");
    server.signal("INT");
    server.signal("CONT");
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn the_server_stops_while_it_is_busy_with_long_work() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "600"]);
    let mut connection = server.connect();
    for key in 0..200 {
        connection.put(key, &"v".repeat(1000));
    }
    let mut compacting = server.connect();
    assert_eq!(compacting.request("GET", "/livez", &[], b"").status, 200, "it is accepted before the signal");
    let request = b"POST /v1/compact HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    compacting.stream.write_all(request).unwrap();
    server.signal("TERM");
    let answer = compacting.raw(b"").unwrap();
    assert!(answer.status == 200 || answer.code() == "draining", "{answer:?}");
    assert_eq!(server.wait().0, 0);
    assert_eq!(Server::start(&dir).get("/v1/get_fast/199").body.len(), 1000);
}

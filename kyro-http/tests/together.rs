//! Writes of many connections at once: they share batches, and each has an answer of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use std::collections::BTreeSet;
use std::io::Write;

use running::{Connection, Server, fresh};

const CONNECTIONS: u64 = 48;

fn connections(server: &Server) -> Vec<Connection> {
    (0..CONNECTIONS).map(|_| server.connect()).collect()
}

/// Sends a request on each connection before the first answer is read; gives status and offset of each. A server that
/// was stopped goes on when all are sent.
fn all_at_once(
    server: &Server,
    connections: &mut [Connection],
    request: impl Fn(u64) -> (&'static str, String, String),
) -> Vec<(u16, Option<u64>)> {
    for (number, connection) in connections.iter_mut().enumerate() {
        let (method, target, body) = request(number as u64);
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        connection.stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    }
    server.signal("CONT");
    let answers = connections.iter_mut().map(|connection| connection.raw(b"").unwrap());
    answers
        .map(|answer| {
            let offset = (answer.status < 300).then(|| answer.json()["offset"].as_u64().unwrap());
            (answer.status, offset)
        })
        .collect()
}

#[test]
fn writes_that_come_together_share_batches_and_keep_their_own_offsets() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--threads", "1"]);
    let mut open = connections(&server);
    let rounds = 10;
    let mut offsets = BTreeSet::new();
    for round in 0..rounds {
        // A server that stands still meanwhile finds all of them when it goes on, however long the sending takes.
        server.signal("STOP");
        let answers = all_at_once(&server, &mut open, |number| {
            let key = round * CONNECTIONS + number;
            match number % 3 {
                0 => ("PUT", format!("/v1/kv/{key}"), format!("value {key}")),
                1 => ("POST", "/v1/put".into(), format!("{{\"key\":{key},\"value\":\"value {key}\"}}")),
                _ => ("POST", "/v1/append".into(), format!("{{\"payload\":\"value {key}\"}}")),
            }
        });
        for (number, (status, offset)) in answers.into_iter().enumerate() {
            let (key, offset) = (round * CONNECTIONS + number as u64, offset.unwrap());
            assert_eq!(status, if number % 3 == 0 { 201 } else { 200 });
            assert!(offsets.insert(offset), "offset {offset} was given twice");
            let event = server.get(&format!("/v1/replay?start={offset}&limit=1")).json();
            assert_eq!(event[0]["payload"], format!("value {key}"));
            if number % 3 != 2 {
                let answer = server.get(&format!("/v1/kv/{key}"));
                assert_eq!(answer.text(), format!("value {key}"));
                assert_eq!(answer.header("etag"), Some(&*format!("\"{offset}\"")));
            }
        }
    }
    let writes = rounds * CONNECTIONS;
    assert_eq!(offsets, (0..writes).collect(), "no offset is left out");
    assert_eq!(server.metric("kyrodb_appends_total"), writes);
    let batches = server.metric("kyrodb_wal_group_batches_total");
    assert!(batches <= writes / 2, "{batches} batches for {writes} writes");
    assert_eq!(server.stop().0, 0);
    let again = Server::start(&dir);
    assert_eq!(again.get("/v1/get_fast/3").text(), "value 3");
    assert_eq!(again.next_offset(), writes);
}

#[test]
fn one_write_that_is_refused_does_not_take_others_with_it() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--threads", "1", "--max-value-bytes", "100"]);
    let mut open = connections(&server);
    for round in 0..5 {
        let answers = all_at_once(&server, &mut open, |number| {
            let length = if number % 8 == 0 { 101 } else { 100 };
            ("PUT", format!("/v1/kv/{}", round * CONNECTIONS + number), "x".repeat(length))
        });
        for (number, (status, offset)) in answers.into_iter().enumerate() {
            assert_eq!((status, offset.is_some()), if number % 8 == 0 { (413, false) } else { (201, true) });
        }
    }
    let stored = 5 * (CONNECTIONS - CONNECTIONS / 8);
    assert_eq!(server.get("/v1/count").json()["count"], stored);
    assert_eq!(server.next_offset(), stored, "what was refused took no offset");
}

#[test]
fn large_values_and_conditions_go_alone() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--threads", "1"]);
    let mut open = connections(&server);
    let answers =
        all_at_once(&server, &mut open, |number| ("PUT", format!("/v1/kv/{number}"), "y".repeat(20_000)));
    assert!(answers.iter().all(|(status, _)| *status == 201));
    assert_eq!(server.metric("kyrodb_wal_group_batches_total"), CONNECTIONS);
    let refused = server.connect().request("PUT", "/v1/kv/1", &[("if-none-match", "*")], b"z");
    assert_eq!(refused.status, 412);
    assert_eq!(server.get("/v1/get_fast/1").body.len(), 20_000);
}

//! Streams: past then live, resumed where they were left, bounded whatever the reader does.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::Write;
use std::time::Duration;

use running::{Connection, Server, SseEvent, events, fresh};
use serde_json::json;

fn subscribe(server: &Server, target: &str, headers: &str) -> Connection {
    let mut connection = server.connect();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    connection.stream.write_all(request.as_bytes()).unwrap();
    let head = connection.head().unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    connection
}

fn ids(found: &[SseEvent]) -> Vec<u64> {
    found.iter().filter_map(|event| event.id).collect()
}

#[test]
fn past_events_come_first_and_then_live_ones() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for key in 0..5 {
        server.put(key, &format!("past {key}"));
    }
    let mut stream = subscribe(&server, "/v1/subscribe?from=2", "");
    let past = events(&mut stream, |found| found.len() == 3);
    assert_eq!(ids(&past), [2, 3, 4]);
    assert_eq!(past[0].data, json!({"offset":2,"key":2,"op":"put","payload":"past 2"}));
    server.put(5, "live");
    server.post("/v1/append", r#"{"payload":"event"}"#);
    let live = events(&mut stream, |found| found.len() == 2);
    assert_eq!(ids(&live), [5, 6]);
    assert_eq!(live[1].data, json!({"offset":6,"op":"append","payload":"event"}));
    // From an offset that has not been given yet: the stream waits for it.
    let mut future = subscribe(&server, "/v1/subscribe?from=8&keys=string", "");
    server.put(7, "skipped");
    server.put(8, "wanted");
    let found = events(&mut future, |found| !found.is_empty());
    assert_eq!((ids(&found), &found[0].data["key"]), (vec![8], &json!("8")));
}

#[test]
fn a_reader_resumes_after_the_last_event_it_saw() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for key in 0..10 {
        server.put(key, "x");
    }
    let mut stream = subscribe(&server, "/v1/subscribe?from=0", "Last-Event-ID: 6\r\n");
    assert_eq!(ids(&events(&mut stream, |found| found.len() == 3)), [7, 8, 9]);
    let mut stream = subscribe(&server, "/v1/subscribe?from=8", "Last-Event-ID: \r\n");
    assert_eq!(ids(&events(&mut stream, |found| found.len() == 2)), [8, 9], "an empty id is none");
    let wrong = server.connect().request("GET", "/v1/subscribe", &[("last-event-id", "six")], b"");
    assert_eq!((wrong.status, wrong.json()["field"].as_str()), (400, Some("Last-Event-ID")));
}

#[test]
fn no_event_is_lost_or_doubled_while_many_write_and_runs_are_made() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 200;
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut stream = subscribe(&server, "/v1/subscribe", "");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut connection = server.connect();
            scope.spawn(move || (0..EACH).for_each(|n| _ = connection.put(writer * EACH + n, "x")));
        }
        scope.spawn(|| (0..3).for_each(|_| assert_eq!(server.post("/v1/snapshot", "").status, 200)));
        let found = events(&mut stream, |found| found.len() as u64 >= WRITERS * EACH);
        assert_eq!(ids(&found), (0..WRITERS * EACH).collect::<Vec<_>>());
        let mut keys: Vec<u64> = found.iter().map(|event| event.data["key"].as_u64().unwrap()).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..WRITERS * EACH).collect::<Vec<_>>());
    });
}

#[test]
fn a_reader_that_takes_nothing_is_told_that_it_lagged_and_costs_no_memory() {
    let (_parent, dir) = fresh();
    // A reader is told after half of the time, and cut after all of it: it has eight seconds to read why.
    let server = Server::start_with(&dir, &["--write-timeout", "16", "--wal-segment-bytes", "67108864"]);
    let mut connection = server.connect();
    let value = "v".repeat(1 << 20);
    let before = server.metric("kyrodb_resident_memory_bytes");
    // However long the disk takes for them: the readers come when most of it is there, and stand still at about one time.
    for key in 0..23 {
        connection.put(key, &value);
    }
    let mut stuck: Vec<Connection> = (0..8).map(|_| subscribe(&server, "/v1/subscribe", "")).collect();
    connection.put(23, &value);
    running::wait_until("the stuck readers are noticed", || server.metric("kyrodb_sse_lagged_total") == 8);
    // What a reader that wakes up in time gets: everything that was on its way, then where to go on.
    let found = events(&mut stuck[0], |_| false);
    // 8 readers behind by 24 MiB each; the server holds the 24 MiB once, and a few chunks a reader.
    let grown = server.metric("kyrodb_resident_memory_bytes") - before;
    assert!(grown < 160_000_000, "{grown} bytes");
    let last = found.last().unwrap();
    assert_eq!(last.name, "lagged");
    let resume = last.data["resume"].as_u64().unwrap();
    assert_eq!(ids(&found), (0..resume).collect::<Vec<_>>(), "nothing is missing up to there");
    assert_eq!(last.data["missed_from"], last.data["resume"]);
    let mut again = subscribe(&server, &format!("/v1/subscribe?from={resume}"), "");
    let rest = events(&mut again, |found| found.len() as u64 == 24 - resume);
    assert_eq!(ids(&rest), (resume..24).collect::<Vec<_>>());
}

#[test]
fn a_long_replay_waits_for_its_reader() {
    let (_parent, dir) = fresh();
    // The last of the readers waits until the others have all: for as long as that takes on this machine.
    let server = Server::start_with(&dir, &["--write-timeout", "600", "--wal-segment-bytes", "67108864"]);
    let mut connection = server.connect();
    let value = "v".repeat(1 << 20);
    for key in 0..40 {
        connection.put(key, &value);
    }
    let before = server.metric("kyrodb_resident_memory_bytes");
    let mut slow: Vec<Connection> = (0..8).map(|_| server.connect()).collect();
    for connection in &mut slow {
        let request = b"GET /v1/replay HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n";
        connection.stream.write_all(request).unwrap();
        assert_eq!(connection.head().unwrap().status, 200);
    }
    std::thread::sleep(Duration::from_millis(500));
    let grown = server.metric("kyrodb_resident_memory_bytes") - before;
    assert!(grown < 120_000_000, "{grown} bytes for 8 replays of 40 MiB");
    for connection in &mut slow {
        let mut text = Vec::new();
        while let Some(chunk) = connection.chunk().unwrap() {
            text.extend_from_slice(&chunk);
        }
        let offsets: Vec<u64> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                serde_json::from_slice::<serde_json::Value>(line).unwrap()["offset"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(offsets, (0..40).collect::<Vec<_>>());
    }
    assert_eq!(slow[0].request("GET", "/health", &[], b"").status, 200, "the connection goes on");
}

#[test]
fn streams_are_counted_and_their_places_come_back() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--max-streams", "2"]);
    let one = subscribe(&server, "/v1/subscribe", "");
    let two = subscribe(&server, "/v1/subscribe", "");
    for target in ["/v1/subscribe", "/v1/replay"] {
        let refused = server.get(target);
        assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_streams"), "{target}");
    }
    drop((one, two));
    running::wait_until("the places come back", || server.get("/v1/replay").status == 200);
}

#[test]
fn a_quiet_stream_outlives_the_idle_time_and_gets_heartbeats() {
    let (_parent, dir) = fresh();
    let server =
        Server::start_with(&dir, &["--idle-timeout", "3", "--header-timeout", "3", "--write-timeout", "3"]);
    let mut stream = subscribe(&server, "/v1/subscribe", "");
    std::thread::sleep(Duration::from_secs(8));
    server.put(1, "late");
    assert_eq!(ids(&events(&mut stream, |found| !found.is_empty())), [0]);
    // A comment comes after 15 s without an event.
    assert_eq!(stream.chunk().unwrap().as_deref(), Some(&b":\n\n"[..]));
}

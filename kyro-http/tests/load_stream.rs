//! Loads over HTTP that cost, that break off, and that the server's end meets half-way.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::Write;
use std::time::{Duration, Instant};

use running::{Connection, PATIENCE, Server, fresh};

/// Lines of `{"key","value"}`.
fn records(count: u64) -> String {
    (0..count).map(|key| format!("{{\"key\":{key},\"value\":\"x\"}}\n")).collect()
}

/// Begins a load whose body is sent in chunks.
fn begin(server: &Server, media_type: &str, target: &str) -> Connection {
    let mut connection = server.connect();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.stream.write_all(head.as_bytes()).unwrap();
    connection
}

fn send(connection: &mut Connection, body: &str) {
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    connection.stream.write_all(chunk.as_bytes()).unwrap();
}

/// Waits until the newest task is in this state.
fn wait_for(server: &Server, state: &str) -> serde_json::Value {
    let start = Instant::now();
    loop {
        let task = server.get("/v1/tasks").json()["tasks"][0].clone();
        if task["state"] == state {
            return task;
        }
        assert!(start.elapsed() < PATIENCE, "{task}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_load_costs_its_records_and_waits_for_what_it_owes() {
    let (_parent, dir) = fresh();
    // A bucket of 1,000 that hardly fills.
    let server = Server::start_with(&dir, &["--rl-data-rps", "1", "--rl-data-burst", "1000"]);
    let start = Instant::now();
    let loaded = server.post("/v1/load", records(1002));
    assert_eq!((loaded.status, loaded.json()["loaded"].as_u64()), (200, Some(1002)), "{}", loaded.text());
    assert!(start.elapsed() >= Duration::from_millis(1900), "two more than the bucket holds: two seconds");
    // It is empty now: what costs 500 would pass if the load had cost one.
    let keys: Vec<u64> = (0..500).collect();
    let refused = server.post("/v1/mget", serde_json::to_vec(&keys).unwrap());
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
}

#[test]
fn a_load_that_waits_for_its_rate_can_be_cancelled() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--rl-data-rps", "0.01", "--rl-data-burst", "5000"]);
    let mut loading = begin(&server, "application/x-ndjson", "/v1/load");
    // A chunk that the bucket pays for half of; the rest would take days.
    send(&mut loading, &records(10_000));
    let owes = Instant::now();
    while server.get("/v1/tasks").status != 429 {
        assert!(owes.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    // The task list counts as data, stopping a task as administration.
    let answer = server.connect().request("DELETE", "/v1/tasks/1", &[], b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let _gone = loading.stream.write_all(b"0\r\n\r\n");
    let stopped = loading.raw(b"").unwrap();
    assert_eq!((stopped.code().as_str(), &stopped.json()["loaded"]["loaded"]), ("cancelled", &0.into()));
}

#[test]
fn a_load_whose_client_leaves_takes_no_part_of_a_record() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let target = "/v1/load?value_column=value";
    for n in 0..20_u64 {
        // The last line is a whole record, but not the one that was meant.
        let mut loading = begin(&server, "text/csv", target);
        send(&mut loading, &format!("key,value\n{n},hello\n{},hel", 100 + n));
        if n % 2 == 0 {
            // As a client does that fails while it sends; and as one does that is gone at once.
            loading.stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        drop(loading);
    }
    let start = Instant::now();
    let ended = |server: &Server| {
        let tasks = server.get("/v1/tasks").json();
        let tasks = tasks["tasks"].as_array().unwrap().clone();
        tasks.len() == 20 && tasks.iter().all(|task| task["state"] == "failed")
    };
    while !ended(&server) {
        assert!(start.elapsed() < PATIENCE, "{}", server.get("/v1/tasks").text());
        std::thread::sleep(Duration::from_millis(10));
    }
    for key in (0..20).chain(100..120) {
        assert_eq!(server.get(&format!("/v1/get_fast/{key}")).status, 404, "{key}");
    }
    assert_eq!(server.next_offset(), 0, "only whole chunks are written");
}

#[test]
fn a_load_hears_of_the_servers_end_and_how_much_is_written() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "24"]);
    let mut loading = begin(&server, "application/x-ndjson", "/v1/load");
    send(&mut loading, &records(10_001));
    let start = Instant::now();
    while server.next_offset() < 10_000 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal("TERM");
    let answer = loading.raw(b"").unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "draining"));
    assert_eq!(answer.json()["loaded"]["loaded"], 10_000);
    let (code, log) = server.wait();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("cutting the connections"), "{log}");
    assert_eq!(Server::start(&dir).get("/v1/count").json()["count"], 10_000);
}

#[test]
fn a_load_that_ends_while_the_server_drains_is_whole() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--drain-timeout", "120"]);
    let mut loading = begin(&server, "application/x-ndjson", "/v1/load");
    send(&mut loading, &records(10));
    wait_for(&server, "running");
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    send(&mut loading, "{\"key\":10,\"value\":\"x\"}\n");
    let answer = loading.raw(b"0\r\n\r\n").unwrap();
    assert_eq!((answer.status, answer.json()["loaded"].as_u64()), (200, Some(11)), "{}", answer.text());
    assert_eq!(server.wait().0, 0);
    assert_eq!(Server::start(&dir).get("/v1/count").json()["count"], 11);
}

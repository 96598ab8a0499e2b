//! Input that is wrong: each case gets its documented error and changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use running::{Answer, Connection, PATIENCE, Server, fresh, wait_until};

/// Method, target, body; status, code, and the field that is named.
type Case = (&'static str, &'static str, Vec<u8>, u16, &'static str, Option<&'static str>);

/// Everything wrong that a client can say over a working connection.
#[allow(clippy::too_many_lines, reason = "one table")]
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut put = |body: &[u8], code, field| cases.push(("POST", "/v1/put", body.to_vec(), 400, code, field));
    put(br#"{"value":"x"}"#, "missing_field", Some("key"));
    put(br#"{"key":-1,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":1.5,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":1.0,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":1e3,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":18446744073709551616,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":null,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":true,"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":[1],"value":"x"}"#, "invalid_field", Some("key"));
    put(br#"{"key":{"a":1},"value":"x"}"#, "invalid_field", Some("key"));
    for text in ["abc", "", " 1", "1 ", "+1", "-1", "1.0", "1e3", "0x1", "18446744073709551616"] {
        put(format!(r#"{{"key":"{text}","value":"x"}}"#).as_bytes(), "invalid_field", Some("key"));
    }
    put(br#"{"key":1}"#, "missing_field", Some("value"));
    put(br#"{"key":1,"value":7}"#, "invalid_field", Some("value"));
    put(br#"{"key":1,"value":null}"#, "invalid_field", Some("value"));
    put(br#"{"key":1,"value":false}"#, "invalid_field", Some("value"));
    put(br#"{"key":1,"value":["x"]}"#, "invalid_field", Some("value"));
    put(br#"{"key":1,"value":{"x":1}}"#, "invalid_field", Some("value"));
    put(br#"{"key":1,"value":"\ud800"}"#, "invalid_field", Some("value"));
    put(br#"{"key":1,"value_base64":"A"}"#, "invalid_field", Some("value_base64"));
    put(br#"{"key":1,"value_base64":7}"#, "invalid_field", Some("value_base64"));
    put(br#"{"key":1,"value":"a","value_base64":"AA=="}"#, "invalid_field", Some("value_base64"));
    put(br#"{"key":1,"key":2,"value":"x"}"#, "duplicate_field", Some("key"));
    put(br#"{"key":1,"value":"x","if_offset":3}"#, "unknown_field", Some("if_offset"));
    put(b"", "empty_body", None);
    put(b" \r\n ", "empty_body", None);
    for text in [
        "{",
        "[]",
        "[1,2]",
        "\"key\"",
        "7",
        "null",
        "{\"key\":1,}",
        "{'key':1}",
        "key=1&value=x",
        "{\"key\":1}{}",
    ] {
        put(text.as_bytes(), "invalid_json", None);
    }
    put(b"{\"key\":1,\"value\":\"\xff\"}", "invalid_json", None);
    put(b"{\"key\":1,\"value\":\"line\nbreak\"}", "invalid_json", None);

    let mut post = |target, body: &str, code, field| {
        cases.push(("POST", target, body.as_bytes().to_vec(), 400, code, field));
    };
    post("/v1/append", r"{}", "missing_field", Some("payload"));
    post("/v1/append", r#"{"payload":1}"#, "invalid_field", Some("payload"));
    post("/v1/append", r#"{"key":1,"payload":"x"}"#, "unknown_field", Some("key"));
    post("/v1/append", "", "empty_body", None);
    post("/v1/replay", r#"{"start":"x"}"#, "invalid_field", Some("start"));
    post("/v1/replay", r#"{"from":1}"#, "unknown_field", Some("from"));
    post("/v1/replay?start=1", "", "unknown_field", Some("start"));
    post("/v1/put?key=1", r#"{"key":1,"value":"x"}"#, "unknown_field", Some("key"));
    post("/v1/snapshot?force=1", "", "unknown_field", Some("force"));

    let mut get = |target, code, field| cases.push(("GET", target, Vec::new(), 400, code, field));
    get("/v1/get_fast/abc", "invalid_field", Some("key"));
    get("/v1/get_fast/-1", "invalid_field", Some("key"));
    get("/v1/get_fast/1.0", "invalid_field", Some("key"));
    get("/v1/get_fast/%31", "invalid_field", Some("key"));
    get("/v1/get_fast/18446744073709551616", "invalid_field", Some("key"));
    get("/v1/get_fast/1?x=1", "unknown_field", Some("x"));
    get("/v1/lookup_fast/abc", "invalid_field", Some("key"));
    get("/v1/lookup_fast/18446744073709551616", "invalid_field", Some("key"));
    get("/v1/lookup", "missing_field", Some("key"));
    get("/v1/lookup?key=", "invalid_field", Some("key"));
    get("/v1/lookup?key=+1", "invalid_field", Some("key"));
    get("/v1/lookup?key=1&key=2", "duplicate_field", Some("key"));
    get("/v1/lookup?key=1&keys=bigint", "invalid_field", Some("keys"));
    get("/v1/lookup?id=1", "unknown_field", Some("id"));
    get("/v1/lookup_raw", "missing_field", Some("key"));
    get("/v1/lookup_raw?key=1.5", "invalid_field", Some("key"));
    get("/v1/replay?start=-1", "invalid_field", Some("start"));
    get("/v1/replay?limit=all", "invalid_field", Some("limit"));
    get("/v1/replay?to=5", "unknown_field", Some("to"));
    get("/v1/subscribe?from=latest", "invalid_field", Some("from"));

    for target in [
        "/",
        "/v1",
        "/v1/put/",
        "/v1/get_fast",
        "/v1/get_fast/",
        "/v1/get_fast/1/2",
        "/v2/put",
        "/V1/offset",
        "/admin",
    ] {
        cases.push(("GET", target, Vec::new(), 404, "unknown_path", None));
    }
    for (method, target) in [
        ("GET", "/v1/put"),
        ("PUT", "/v1/put"),
        ("DELETE", "/v1/put"),
        ("POST", "/v1/get_fast/1"),
        ("DELETE", "/v1/get_fast/1"),
        ("POST", "/v1/lookup_fast/1"),
        ("POST", "/v1/lookup"),
        ("POST", "/v1/lookup_raw"),
        ("GET", "/v1/append"),
        ("PUT", "/v1/replay"),
        ("POST", "/v1/subscribe"),
        ("GET", "/v1/rmi/build"),
        ("GET", "/v1/warmup"),
        ("GET", "/v1/snapshot"),
        ("GET", "/v1/compact"),
        ("POST", "/v1/offset"),
        ("POST", "/health"),
        ("POST", "/livez"),
        ("POST", "/readyz"),
        ("POST", "/metrics"),
        ("POST", "/build_info"),
        ("OPTIONS", "/v1/put"),
        ("BREW", "/v1/put"),
    ] {
        cases.push((method, target, Vec::new(), 405, "method_not_allowed", None));
    }
    cases
}

#[test]
fn each_gets_its_error_and_changes_nothing() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    assert_eq!(server.put(1, "before"), 0);
    let mut connection = server.connect();
    for (method, target, body, status, code, field) in cases() {
        let text = String::from_utf8_lossy(&body).into_owned();
        let answer = connection.request(method, target, &[], &body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {target} {text}");
        assert_eq!(answer.json()["field"].as_str(), field, "{method} {target} {text}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {target}");
        assert_eq!(
            connection.request("GET", "/v1/offset", &[], b"").text(),
            r#"{"offset":1}"#,
            "{method} {target} {text}"
        );
    }
    assert_eq!(server.get("/v1/get_fast/1").text(), "before");
    assert_eq!(server.metric("kyrodb_appends_total"), 1);
}

#[test]
fn wrong_methods_are_told_the_right_ones() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let allow = |method, target| {
        server.connect().request(method, target, &[], b"").header("allow").map(str::to_owned)
    };
    assert_eq!(allow("GET", "/v1/put").as_deref(), Some("POST"));
    assert_eq!(allow("POST", "/v1/get_fast/1").as_deref(), Some("GET, HEAD"));
    assert_eq!(allow("PUT", "/v1/replay").as_deref(), Some("GET, POST"));
}

#[test]
fn any_content_type_is_taken_for_json() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let body = br#"{"key":1,"value":"x"}"#;
    for content_type in ["application/json", "application/x-www-form-urlencoded", "text/plain", "nonsense"] {
        let answer = server.connect().request("POST", "/v1/put", &[("content-type", content_type)], body);
        assert_eq!(answer.status, 200, "{content_type}");
    }
    assert_eq!(server.post("/v1/put", body).status, 200, "none at all");
}

#[test]
fn limits_are_kept_before_any_work() {
    let (_parent, dir) = fresh();
    let limits = ["--max-body-bytes", "100000", "--max-value-bytes", "1000"];
    let server = Server::start_with(&dir, &limits);
    let value = |bytes: usize| format!(r#"{{"key":1,"value":"{}"}}"#, "v".repeat(bytes));

    assert_eq!(server.post("/v1/put", value(1000)).status, 200);
    let over = server.post("/v1/put", value(1001));
    assert_eq!((over.status, over.code().as_str()), (413, "value_too_large"));

    // Declared too long: refused before the body is sent.
    let mut connection = server.connect();
    let declared = connection
        .raw(b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100001\r\n\r\n")
        .unwrap();
    assert_eq!((declared.status, declared.code().as_str()), (413, "body_too_large"));

    // Not declared: refused when it has become too long.
    let mut connection = server.connect();
    connection
        .stream
        .write_all(b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    connection.stream.write_all(chunk.as_bytes()).unwrap();
    let streamed = connection.raw(chunk.as_bytes()).unwrap();
    assert_eq!((streamed.status, streamed.code().as_str()), (413, "body_too_large"));

    // A chunked body that fits is as good as a declared one.
    let mut connection = server.connect();
    let body = r#"{"key":2,"value":"chunked"}"#;
    let (one, two) = body.split_at(9);
    let request = format!(
        "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    assert_eq!(connection.raw(request.as_bytes()).unwrap().status, 200);
    assert_eq!(server.get("/v1/get_fast/2").text(), "chunked");

    let target = format!("/v1/lookup?key={}", "0".repeat(8 << 10));
    let long = server.get(&target);
    assert_eq!((long.status, long.code().as_str()), (414, "target_too_long"));
    let padded = format!("/v1/lookup?key={}1", "0".repeat(8000));
    assert_eq!(server.get(&padded).status, 200, "below the limit");

    let lines: String = (0..64).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = server
        .connect()
        .raw(format!("GET /v1/offset HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n").as_bytes())
        .unwrap();
    assert_eq!((many.status, many.code().as_str()), (431, "too_many_headers"));
    let long = format!("GET /v1/offset HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(17 << 10));
    assert_eq!(server.connect().raw(long.as_bytes()).unwrap().status, 431);
    assert_eq!(server.next_offset(), 2);
}

#[test]
fn large_bodies_share_one_budget_of_memory() {
    let (_parent, dir) = fresh();
    let limits =
        ["--max-body-bytes", "200000", "--max-value-bytes", "200000", "--body-memory-bytes", "300000"];
    let server = Server::start_with(&dir, &limits);
    let body = format!(r#"{{"key":1,"value":"{}"}}"#, "v".repeat(190_000));
    let head = format!("POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut first = server.connect();
    first.stream.write_all(head.as_bytes()).unwrap();
    server.works_on(1);
    let mut second = server.connect();
    let refused = second.raw(head.as_bytes()).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.put(2, "small bodies go on"), 0);
    assert_eq!(first.raw(body.as_bytes()).unwrap().status, 200);
    assert_eq!(server.post("/v1/put", &body).status, 200, "the memory is given back");
}

#[test]
fn malformed_requests_get_an_error_or_a_closed_connection_and_never_a_5xx() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for request in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /v1/offset\r\n\r\n",
        "GET /v1/offset HTTP/9.9\r\n\r\n",
        "GET /v1/off set HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v1/offset HTTP/1.1\r\nhost localhost\r\n\r\n",
        "GET /v1/offset HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
        "GET /v1/offset HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
        "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{}{}",
        "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /v1/../v1/put HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v1/%2e%2e/put HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let mut connection = server.connect();
        connection.stream.write_all(request.as_bytes()).unwrap();
        connection.stream.shutdown(std::net::Shutdown::Write).unwrap();
        if let Ok(answer) = connection.raw(b"") {
            assert!((400..500).contains(&answer.status), "{request:?}: {answer:?}");
        }
    }
    assert_eq!(server.next_offset(), 0);
}

#[test]
fn a_body_that_breaks_off_writes_nothing() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for _ in 0..20 {
        let mut connection = server.connect();
        let request = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 21\r\n\r\n{\"key\":1,\"value\":\"x\"";
        connection.stream.write_all(request).unwrap();
        drop(connection);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.next_offset(), 0);
}

/// A request on a connection of its own, that is begun again where this side was so late that the connection was cut.
fn persistent(server: &Server, bytes: &[u8]) -> (Connection, Answer) {
    let mut done = None;
    wait_until("an answer", || {
        let mut connection = server.connect();
        done = connection.raw(bytes).ok().map(|answer| (connection, answer));
        done.is_some()
    });
    done.unwrap()
}

const OFFSET: &[u8] = b"GET /v1/offset HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn a_slow_body_is_cut() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--body-timeout", "0.5"]);
    let head = b"POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"key\"";
    let answer = server.connect().raw(head).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
}

/// A byte now and then does not save a request whose head does not come to its end.
#[test]
fn a_slow_head_is_cut() {
    const CUT: &str = "kyrodb_http_connections_cut_total{reason=\"slow_head\"}";
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--header-timeout", "0.5"]);
    let mut slow = server.connect();
    let start = Instant::now();
    for byte in OFFSET[..30].iter().cycle() {
        if slow.stream.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "never cut");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() >= Duration::from_millis(500), "cut after {:?}", start.elapsed());
    let (_, answer) = persistent(&server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let text = answer.text();
    let cut = text.lines().find_map(|line| line.strip_prefix(CUT)).unwrap();
    assert!(cut.trim().parse::<u64>().unwrap() >= 1, "{text}");
}

#[test]
fn idle_connections_are_closed() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--idle-timeout", "1"]);
    let (mut idle, answer) = persistent(&server, OFFSET);
    assert_eq!(answer.status, 200);
    assert!(idle.closes_within(PATIENCE));
    // The silent one as well; others of this test may have been too late.
    assert!(server.connect().closes_within(PATIENCE));
    let (_, answer) = persistent(&server, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let text = answer.text();
    let cut =
        text.lines().find_map(|line| line.strip_prefix("kyrodb_http_connections_cut_total{reason=\"idle\"}"));
    assert!(cut.unwrap().trim().parse::<u64>().unwrap() >= 2, "{text}");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_and_one_that_is_slow_is_not() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--write-timeout", "0.5"]);
    let value = "v".repeat(15 << 20);
    server.put(1, &value);
    let mut stuck = server.connect();
    stuck.stream.write_all(b"GET /v1/get_fast/1 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    wait_until("the cut", || server.metric("kyrodb_http_connections_cut_total{reason=\"slow_reader\"}") >= 1);
    // 15 MiB in pieces, over a time longer than the timeout, but never without progress for so long.
    wait_until("a slow reader's end", || {
        let mut slow = server.connect();
        slow.stream
            .write_all(b"GET /v1/get_fast/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let (mut total, mut piece) = (0, vec![0; 1 << 20]);
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let ended = loop {
            let read = slow.stream.read(&mut piece);
            longest = longest.max(last.elapsed());
            last = Instant::now();
            match read {
                Ok(0) => break Ok(()),
                Ok(read) => total += read,
                Err(error) => break Err(error),
            }
            std::thread::sleep(Duration::from_millis(if total % 3 == 0 { 60 } else { 20 }));
        };
        // A reader that itself stood still for half of the time tells nothing; it tries again.
        assert!(
            total > value.len() || longest > TIMEOUT / 2,
            "{total} {ended:?}, at most {longest:?} without a read"
        );
        total > value.len()
    });
}

#[test]
fn without_a_token_only_requests_that_name_this_machine_are_answered() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let port = server.address.port();
    let status = |host: &str| {
        let answer = server.connect().request("GET", "/v1/offset", &[("host", host)], b"");
        if answer.status == 403 {
            assert_eq!(answer.code(), "host_not_allowed");
        }
        answer.status
    };
    for host in ["localhost", "LocalHost:1", "127.0.0.1", &format!("127.0.0.1:{port}"), "[::1]:80"] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io", ""] {
        assert_eq!(status(host), 403, "{host}");
    }
    let mut connection = server.connect();
    let absolute =
        connection.raw(b"GET http://evil.example/v1/offset HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(absolute.status, 403);
    let mut old = Connection::open(server.address).unwrap();
    assert_eq!(old.raw(b"GET /v1/offset HTTP/1.0\r\n\r\n").unwrap().status, 200, "no browser sends no Host");
}

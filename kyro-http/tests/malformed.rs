//! Requests that no client should send: refused or answered, never a panic, a hang or an unexpected 5xx; and the
//! server goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use running::{Server, fresh, number_of};

/// What may come of a request.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// Refused with a 4xx or 505, or the connection is closed without an answer.
    Refused,
    /// As above, or answered: what it asks for is sound for some readers of the standard.
    Lenient,
}

fn head(request_line: &str, headers: &str) -> Vec<u8> {
    format!("{request_line}\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    [&head("POST /v1/put HTTP/1.1", headers), body].concat()
}

#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn requests() -> Vec<(Vec<u8>, Fate)> {
    use Fate::{Lenient, Refused};
    let mut all: Vec<(Vec<u8>, Fate)> = Vec::new();
    let body = br#"{"key":1,"value":"x"}"#;
    let chunked = "transfer-encoding: chunked\r\n";
    // Both lengths, two lengths, lengths that are none.
    for length in [
        "-1",
        "+21",
        "21, 22",
        "0x15",
        "21a",
        "1e1",
        " ",
        "99999999999999999999",
        "18446744073709551616",
        "2 1",
        "21;",
        "\"21\"",
        "٢١",
        "21.0",
        "NaN",
        "",
    ] {
        all.push((post(&format!("content-length: {length}\r\n"), body), Refused));
    }
    all.push((post("content-length: 21\r\ncontent-length: 22\r\n", body), Refused));
    all.push((post("content-length: 0\r\ncontent-length: 21\r\n", body), Refused));
    all.push((post("content-length: 21\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n"), Lenient));
    all.push((post("transfer-encoding: chunked\r\ncontent-length: 21\r\n", b"0\r\n\r\n"), Lenient));
    for coding in [
        "gzip",
        "identity",
        "chunked, gzip",
        "xchunked",
        "chunked;",
        "\u{b}chunked",
        "chunk",
        "gzip, identity",
    ] {
        all.push((post(&format!("transfer-encoding: {coding}\r\n"), b"0\r\n\r\n"), Lenient));
    }
    all.push((post("transfer-encoding : chunked\r\n", b"0\r\n\r\n"), Refused));
    all.push((post("transfer-encoding\r\n", b""), Refused));
    // Odd chunks.
    for chunk in [
        "x\r\n",
        "-1\r\n",
        "0x15\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "ffffffffffffffff\r\n",
        "8000000000000000\r\n",
        " 15\r\n",
        "15 \n",
        "\r\n",
        ";\r\n",
        "1\r\nab\r\n",
        "2\r\na",
        "5\r\nabc\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "5,5\r\n",
        "0\r\nx",
        "0\r\n: x\r\n\r\n",
        "1;\u{0}\r\na\r\n",
        "1\n\na\n0\n\n",
        "00000000000000000000000000000001\r\na\r\n0\r\n\r\n",
    ] {
        all.push((post(chunked, chunk.as_bytes()), Lenient));
    }
    all.push((post(chunked, format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(100_000)).as_bytes()), Refused));
    all.push((post(chunked, format!("0\r\n{}\r\n", "t: v\r\n".repeat(10_000)).as_bytes()), Lenient));
    // Request lines.
    for line in [
        "",
        " ",
        "GET",
        "GET ",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/3",
        "GET / HTTP/0.9",
        "GET / HTTP/-1.1",
        "GET / HTTP/1.1.1",
        "GET / FTP/1.1",
        "G\u{e4}T / HTTP/1.1",
        "GET /\u{0} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET v1/offset HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http://[::1 HTTP/1.1",
        "GET //:99999/ HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT HTTP/1.1",
        "() / HTTP/1.1",
        "GET /<> HTTP/1.1",
        "GET /{} HTTP/1.1",
        "GET /\" HTTP/1.1",
        "GET /| HTTP/1.1",
        "GET /\\ HTTP/1.1",
        "GET /^ HTTP/1.1",
        "GET /` HTTP/1.1",
        "PRI * HTTP/2.0",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
        "GET / HTTP/1.1\r",
        "\r\r\r GET / HTTP/1.1",
        "{\"key\":1}",
        "<policy-file-request/>",
    ] {
        all.push((head(line, ""), Lenient));
    }
    for method in [
        "TRACE",
        "CONNECT",
        "OPTIONS",
        "PATCH",
        "LINK",
        "get",
        "Get",
        "X".repeat(2000).as_str(),
        "GET,POST",
        "PROPFIND",
    ] {
        all.push((head(&format!("{method} /v1/offset HTTP/1.1"), ""), Refused));
    }
    // Headers.
    for header in [
        "x y: 1",
        ": 1",
        "x:\u{0}",
        "x: a\u{0}b",
        "x\u{0}: 1",
        "x: \u{7}",
        "x",
        "x\ty: 1",
        "(x): 1",
        "x\u{e4}: 1",
        "\"x\": 1",
        "x: 1\n y",
        " x: 1",
        "x: 1\r\n folded",
        "x: 1\r\n\tfolded",
        "@: 1",
        "x[]: 1",
        "x: 1\rx: 2",
        "host : a",
        "\u{feff}x: 1",
    ] {
        all.push((head("GET /v1/offset HTTP/1.1", &format!("{header}\r\n")), Lenient));
    }
    for hosts in [
        "host: a\r\n",
        "host: localhost\r\nhost: evil\r\n",
        "host: localhost, evil\r\n",
        "host: \u{0}\r\n",
        "host: local host\r\n",
    ] {
        all.push((format!("GET /v1/offset HTTP/1.1\r\n{hosts}\r\n").into_bytes(), Refused));
    }
    for bytes in [17 << 10, 64 << 10, 1 << 20] {
        all.push((head("GET /v1/offset HTTP/1.1", &format!("x: {}\r\n", "y".repeat(bytes))), Refused));
        all.push((head("GET /v1/offset HTTP/1.1", &format!("{}: 1\r\n", "y".repeat(bytes))), Refused));
        all.push((head(&format!("GET /{} HTTP/1.1", "u".repeat(bytes)), ""), Refused));
        all.push((head(&format!("GET /v1/lookup?key={} HTTP/1.1", "0".repeat(bytes)), ""), Refused));
    }
    for count in [64, 100, 101, 1000] {
        let lines = (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<Vec<_>>().concat();
        all.push((head("GET /v1/offset HTTP/1.1", &lines), Refused));
    }
    // Paths and queries.
    for path in [
        "/v1/../v1/offset",
        "/v1/%2e%2e/offset",
        "/v1/get_fast/%31",
        "/v1/get_fast/1%00",
        "/v1/get_fast/..%2f..%2fetc%2fpasswd",
        "/v1/kv/%",
        "/v1/kv/%zz",
        "/v1/kv/1%2f2",
        "/v1/kv/-1",
        "/v1/kv/1.0",
        "/v1/kv/1e3",
        "/v1/kv/0x1",
        "/v1/kv/+1",
        "/v1/kv/ 1",
        "/v1/kv/1 ",
        "/v1/kv/18446744073709551616",
        "/v1/kv/99999999999999999999999999999999",
        "/v1/kv/NaN",
        "/v1/kv/\u{661}",
        "/v1/kv/1/",
        "/v1/kv//1",
        "/v1/kv/",
        "/v1/kv",
        "//v1/kv/1",
        "/V1/KV/1",
        "/v1;x/kv/1",
        "/v1/kv/1;x",
        "/v1/lookup?key",
        "/v1/lookup?key=",
        "/v1/lookup?key=1&key=2",
        "/v1/lookup?KEY=1",
        "/v1/lookup?key=1%",
        "/v1/lookup?key=%31%zz",
        "/v1/lookup?key[]=1",
        "/v1/lookup?key=1;key=2",
        "/v1/lookup?key=1#2",
        "/v1/lookup??key=1",
        "/v1/lookup?key=%00",
        "/v1/scan?limit=-1",
        "/v1/scan?from=x",
        "/v1/scan?cursor=k",
        "/v1/scan?cursor=kk1",
        "/v1/scan?reverse=yes",
        "/v1/scan?values=",
        "/v1/count?to=1.5",
        "/v1/select?rank=-1",
        "/v1/changes?wait=forever",
        "/v1/changes?stream=1",
        "/v1/replay?start=a",
        "/v1/subscribe?from=-1",
        "/v1/tasks/x",
        "/v1/tasks/-1",
        "/v1/tasks/",
        "/v1/nothing",
        "/.git/config",
        "/etc/passwd",
        "/health?x=1",
        "/metrics?x=1",
        "/openapi.yaml?x=1",
        "/v1/offset?x",
    ] {
        all.push((head(&format!("GET {path} HTTP/1.1"), ""), Refused));
    }
    // Bodies.
    for text in [
        "",
        " ",
        "{",
        "}",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{}",
        "{\"key\":1}",
        "{\"value\":\"x\"}",
        "{\"key\":null,\"value\":\"x\"}",
        "{\"key\":-1,\"value\":\"x\"}",
        "{\"key\":1.5,\"value\":\"x\"}",
        "{\"key\":1e3,\"value\":\"x\"}",
        "{\"key\":18446744073709551616,\"value\":\"x\"}",
        "{\"key\":\"\",\"value\":\"x\"}",
        "{\"key\":\"0x1\",\"value\":\"x\"}",
        "{\"key\":[1],\"value\":\"x\"}",
        "{\"key\":{},\"value\":\"x\"}",
        "{\"key\":true,\"value\":\"x\"}",
        "{\"key\":1,\"value\":null}",
        "{\"key\":1,\"value\":1}",
        "{\"key\":1,\"value\":[]}",
        "{\"key\":1,\"value\":\"\\ud800\"}",
        "{\"key\":1,\"value\":\"\u{0}\"}",
        "{\"key\":1,\"value\":\"x\"}}",
        "{\"key\":1,\"value\":\"x\"} x",
        "{\"key\":1,\"value\":\"x\",}",
        "{'key':1,'value':'x'}",
        "{key:1}",
        "{\"key\":1,\"value\":\"x\",\"value\":\"y\"}",
        "{\"key\":1,\"value\":\"x\",\"value_base64\":\"eA==\"}",
        "{\"key\":1,\"value_base64\":\"e\"}",
        "{\"key\":1,\"value_base64\":\"eA\"}",
        "{\"key\":1,\"value_base64\":\"eA=\"}",
        "{\"key\":1,\"value_base64\":\"e A==\"}",
        "{\"key\":1,\"value_base64\":\"-_==\"}",
        "{\"key\":1,\"value\":\"x\",\"ttl\":1}",
        "{\"__proto__\":1,\"key\":1,\"value\":\"x\"}",
        "\u{feff}{\"key\":1,\"value\":\"x\"}",
        "{\"key\":1,\"value\":\"x\"}\u{0}",
        "// c\n{\"key\":1,\"value\":\"x\"}",
        "{\"key\":NaN,\"value\":\"x\"}",
        "{\"key\":Infinity,\"value\":\"x\"}",
        "{\"key\":01,\"value\":\"x\"}",
        "{\"key\":.1,\"value\":\"x\"}",
        "{\"k\\u0065y\":-1,\"value\":\"x\"}",
    ] {
        for path in ["/v1/put", "/v1/batch", "/v1/mget"] {
            let empty_is_fine = path == "/v1/mget" && text == "[]";
            let request =
                head(&format!("POST {path} HTTP/1.1"), &format!("content-length: {}\r\n", text.len()));
            all.push(([&request, text.as_bytes()].concat(), if empty_is_fine { Lenient } else { Refused }));
        }
    }
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    all.push((post(&format!("content-length: {}\r\n", deep.len()), deep.as_bytes()), Refused));
    for bytes in [
        &b"\xff\xfe"[..],
        b"KYF1",
        b"KYF2\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        b"KYF1\x01\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff",
    ] {
        for path in ["/v1/batch", "/v1/mget", "/v1/load"] {
            let headers = format!(
                "content-type: application/vnd.kyro.v1+binary\r\ncontent-length: {}\r\n",
                bytes.len()
            );
            all.push(([&head(&format!("POST {path} HTTP/1.1"), &headers), bytes].concat(), Refused));
        }
    }
    all
}

/// Sends bytes and gives the status of the first answer; `None` where there was none. Where none comes, the sending
/// side is ended: what was not whole never will be.
fn outcome(server: &Server, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    // The server may refuse and close before everything is sent.
    let _either = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let mut waited = false;
    while answer.is_empty() {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => {
                assert!(!waited, "the server neither answers nor closes: {error}");
                waited = true;
                stream.set_read_timeout(Some(running::PATIENCE)).unwrap();
                let _either = stream.shutdown(std::net::Shutdown::Write);
            }
        }
    }
    let text = String::from_utf8_lossy(&answer);
    text.strip_prefix("HTTP/1.1 ").or(text.strip_prefix("HTTP/1.0 ")).map(|rest| rest[..3].parse().unwrap())
}

#[test]
fn malformed_requests_are_refused_and_the_server_goes_on() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let table = requests();
    assert!(table.len() >= 300, "{}", table.len());
    let rounds = number_of("KYRO_HTTP_MALFORMED_ROUNDS", 1) as usize;
    let requests: Vec<_> = std::iter::repeat_n(table, rounds).flatten().collect();
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for part in requests.chunks(requests.len().div_ceil(16)) {
            let (server, answered) = (&server, &answered);
            scope.spawn(move || {
                for (bytes, fate) in part {
                    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
                    let status = outcome(server, bytes);
                    let refused = status.is_none_or(|status| (400..500).contains(&status) || status == 505);
                    let fine = *fate == Fate::Lenient && status.is_some_and(|status| status < 300);
                    assert!(refused || fine, "{status:?} {shown:?}");
                    answered.fetch_add(usize::from(status.is_some()), Ordering::Relaxed);
                }
            });
        }
    });
    let answered = answered.into_inner();
    assert!(answered * 2 > requests.len(), "most are told what is wrong: {answered} of {}", requests.len());
    assert_eq!(server.next_offset(), 0, "nothing was written");
    let metrics = server.get("/metrics").text();
    assert!(!metrics.contains("status=\"5"), "{metrics}");
    assert_eq!(server.stop().0, 0);
}

#[test]
fn a_thousand_requests_in_one_go_are_answered_in_order() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    for key in 0..100 {
        server.put(key, &format!("value {key}"));
    }
    let mut connection = server.connect();
    let requests = (0..1000)
        .map(|n| format!("GET /v1/get_fast/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", n % 100))
        .collect::<Vec<_>>()
        .concat();
    connection.stream.write_all(requests.as_bytes()).unwrap();
    for n in 0..1000 {
        let answer = connection.raw(b"").unwrap();
        assert_eq!((answer.status, answer.text()), (200, format!("value {}", n % 100)));
    }
    // Writes among reads, and an end that the client asks for: everything before it is answered.
    let mut mixed = String::new();
    for n in 0..50 {
        let body = format!("{{\"key\":{n},\"value\":\"new\"}}");
        mixed.push_str(&format!(
            "POST /v1/put HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        mixed.push_str(&format!("GET /v1/get_fast/{n} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    }
    mixed.push_str("GET /v1/offset HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\nGET /ignored HTTP/1.1\r\n\r\n");
    connection.stream.write_all(mixed.as_bytes()).unwrap();
    for n in 0..50 {
        assert_eq!(connection.raw(b"").unwrap().json()["offset"], 100 + n);
        assert_eq!(connection.raw(b"").unwrap().text(), "new");
    }
    assert_eq!(connection.raw(b"").unwrap().json()["offset"], 150);
    assert!(connection.closes_within(running::PATIENCE));
}

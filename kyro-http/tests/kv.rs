//! `/v1/kv/{key}`: a value as a resource.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod running;

use running::{Connection, Server, fresh};

fn kv(
    connection: &mut Connection,
    method: &str,
    key: u64,
    headers: &[(&str, &str)],
    body: &[u8],
) -> running::Answer {
    connection.request(method, &format!("/v1/kv/{key}"), headers, body)
}

#[test]
fn values_come_back_as_they_were_put_with_their_tags() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    let every_byte: Vec<u8> = (0..=255).collect();
    let put = kv(&mut connection, "PUT", 7, &[], &every_byte);
    assert_eq!((put.status, put.json()["offset"].as_u64()), (201, Some(0)));
    assert_eq!(put.header("etag"), Some("\"0\""));
    let again = kv(&mut connection, "PUT", 7, &[("content-type", "image/png")], &every_byte);
    assert_eq!((again.status, again.header("etag")), (200, Some("\"1\"")));

    for flushed in [false, true] {
        let get = kv(&mut connection, "GET", 7, &[], b"");
        assert_eq!((get.status, &get.body), (200, &every_byte), "flushed {flushed}");
        assert_eq!(get.header("etag"), Some("\"1\""));
        assert_eq!(get.header("content-type"), Some("application/octet-stream"));
        let head = kv(&mut connection, "HEAD", 7, &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some("256")));
        assert_eq!(head.header("etag"), Some("\"1\""));
        assert_eq!(server.post("/v1/snapshot", "").status, 200);
    }
    assert_eq!(kv(&mut connection, "GET", 8, &[], b"").code(), "not_found");
    assert_eq!(kv(&mut connection, "PUT", 9, &[], b"").status, 201);
    let empty = kv(&mut connection, "GET", 9, &[], b"");
    assert_eq!((empty.status, empty.body.len()), (200, 0), "an empty value is a value");
    assert_eq!(connection.request("PUT", "/v1/kv/x", &[], b"").code(), "invalid_field");
    assert_eq!(connection.request("PUT", "/v1/kv/1?ttl=1", &[], b"").code(), "unknown_field");
    let packed = kv(&mut connection, "PUT", 1, &[("content-encoding", "gzip")], b"x");
    assert_eq!((packed.status, packed.code().as_str()), (415, "unsupported_media_type"));

    let delete = kv(&mut connection, "DELETE", 7, &[], b"");
    assert_eq!((delete.status, delete.json()["offset"].as_u64()), (200, Some(3)));
    assert_eq!(kv(&mut connection, "GET", 7, &[], b"").status, 404);
    assert_eq!(kv(&mut connection, "DELETE", 7, &[], b"").code(), "not_found");
    assert_eq!(server.next_offset(), 4, "what is not there is not deleted");
}

#[test]
fn a_client_that_has_the_value_is_told_so_and_parts_are_sent() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    kv(&mut connection, "PUT", 7, &[], b"0123456789");
    for (tag, status) in [("\"0\"", 304), ("*", 304), ("\"1\"", 200), ("W/\"0\"", 200)] {
        let answer = kv(&mut connection, "GET", 7, &[("if-none-match", tag)], b"");
        assert_eq!(answer.status, status, "{tag}");
        assert_eq!(answer.header("etag"), Some("\"0\""));
    }
    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=0-0,2-2", 200, "0123456789", None),
    ] {
        let answer = kv(&mut connection, "GET", 7, &[("range", range)], b"");
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{range}");
        assert_eq!(answer.header("content-range"), content_range);
    }
    let outside = kv(&mut connection, "GET", 7, &[("range", "bytes=10-")], b"");
    assert_eq!((outside.status, outside.header("content-range")), (416, Some("bytes */10")));
    let old = kv(&mut connection, "GET", 7, &[("range", "bytes=0-3"), ("if-range", "\"9\"")], b"");
    assert_eq!((old.status, old.body.len()), (200, 10));
    assert_eq!(kv(&mut connection, "GET", 7, &[("if-match", "\"9\"")], b"").status, 412);
    assert_eq!(kv(&mut connection, "GET", 7, &[("if-match", "nonsense")], b"").code(), "invalid_field");
}

#[test]
fn large_values_go_both_ways_and_too_large_ones_are_refused() {
    let (_parent, dir) = fresh();
    let server = Server::start_with(&dir, &["--max-value-bytes", "1000000"]);
    let mut connection = server.connect();
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(kv(&mut connection, "PUT", 1, &[], &large).status, 201);
    assert!(kv(&mut connection, "GET", 1, &[], b"").body == large);
    let refused = kv(&mut connection, "PUT", 1, &[], &[large, vec![0]].concat());
    assert_eq!((refused.status, refused.code().as_str()), (413, "value_too_large"));
}

#[test]
fn a_condition_that_does_not_hold_writes_nothing() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let mut connection = server.connect();
    let mut put = |condition: (&str, &str), body: &[u8]| {
        let answer = kv(&mut connection, "PUT", 7, &[condition], body);
        if answer.status == 412 {
            assert_eq!(answer.code(), "precondition_failed");
        }
        answer.status
    };
    assert_eq!(put(("if-match", "*"), b"x"), 412);
    assert_eq!(put(("if-match", "\"0\""), b"x"), 412);
    assert_eq!(put(("if-none-match", "*"), b"first"), 201);
    assert_eq!(put(("if-none-match", "*"), b"x"), 412);
    assert_eq!(put(("if-match", "\"1\""), b"x"), 412);
    assert_eq!(put(("if-match", "W/\"0\""), b"x"), 412, "a weak tag names no value");
    assert_eq!(put(("if-match", "\"0\""), b"second"), 200);
    assert_eq!(put(("if-match", "*"), b"third"), 200);
    assert_eq!(put(("if-none-match", "\"0\""), b"x"), 400);
    assert_eq!(server.next_offset(), 3, "what is refused takes no offset");
    assert_eq!(server.get("/v1/kv/7").text(), "third");
    let mut connection = server.connect();
    assert_eq!(kv(&mut connection, "DELETE", 7, &[("if-match", "\"1\"")], b"").status, 412);
    assert_eq!(kv(&mut connection, "DELETE", 7, &[("if-match", "\"2\"")], b"").status, 200);
    assert_eq!(kv(&mut connection, "DELETE", 7, &[("if-match", "\"2\"")], b"").status, 412);
    assert_eq!(kv(&mut connection, "DELETE", 7, &[], b"").status, 404);
}

#[test]
fn a_counter_that_many_raise_by_conditions_loses_nothing() {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 25;
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    server.put(1, "0");
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = server.connect();
                for _ in 0..EACH {
                    loop {
                        let now = kv(&mut connection, "GET", 1, &[], b"");
                        let next = (now.text().parse::<u64>().unwrap() + 1).to_string();
                        let tag = now.header("etag").unwrap().to_owned();
                        let put = kv(&mut connection, "PUT", 1, &[("if-match", &tag)], next.as_bytes());
                        match put.status {
                            200 => break,
                            412 => {}
                            status => panic!("{status}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(server.get("/v1/kv/1").text(), (CLIENTS * EACH).to_string());
    assert_eq!(server.next_offset(), 1 + CLIENTS * EACH);
}

/// HTTP/1.0 knows no Host: a condition may be the only header there is.
#[test]
fn a_condition_without_any_other_header_holds() {
    let (_parent, dir) = fresh();
    let server = Server::start(&dir);
    let offset = server.put(1, "x");
    let raw = |request: String| server.connect().raw(request.as_bytes()).unwrap();
    let wrong = raw(format!("DELETE /v1/kv/1 HTTP/1.0\r\nif-match: \"{}\"\r\n\r\n", offset + 1));
    assert_eq!((wrong.status, wrong.code().as_str()), (412, "precondition_failed"));
    let same = raw(format!("GET /v1/kv/1 HTTP/1.0\r\nif-none-match: \"{offset}\"\r\n\r\n"));
    assert_eq!(same.status, 304);
    let part = raw("GET /v1/kv/1 HTTP/1.0\r\nrange: bytes=0-0\r\n\r\n".to_owned());
    assert_eq!((part.status, part.text().as_str()), (206, "x"));
    let deleted = raw(format!("DELETE /v1/kv/1 HTTP/1.0\r\nif-match: \"{offset}\"\r\n\r\n"));
    assert_eq!(deleted.status, 200, "{}", deleted.text());
}

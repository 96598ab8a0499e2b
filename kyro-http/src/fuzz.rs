//! The fuzz bodies: what no bytes may make the parsers of requests do. Shared by the fuzzer (`fuzz/`) and by a bounded
//! test.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a fuzz body stops at the first thing it did not expect"
)]

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use serde_json::Value;

use crate::decimal::parse_u64;
use crate::fields::{Object, Query, path_number};
use crate::frame::{Kind, RECORD_BYTES, read_keys, read_operations, write_header};
use crate::host_check::names_loopback;
use crate::problem::Problem;
use crate::route::{Access, Route};
use crate::tokens::{Role, Tokens};

pub use crate::load::fuzz::records;

const FIELDS: &[&str] = &["key", "value", "value_base64", "start", "end"];

/// Any bytes as the body of a request: refused with a problem that names no content, or read as another JSON parser
/// reads it.
pub fn json_body(data: &[u8]) {
    let object = match Object::parse(data, FIELDS) {
        Ok(object) => object,
        Err(error) => {
            assert!(!Problem::from(error).detail.is_empty());
            return;
        }
    };
    // The other parser refuses what nests too deep, which this one does not look into.
    let Ok(Value::Object(other)) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    for name in ["key", "start", "end"] {
        let wanted = match other.get(name) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => parse_u64(text).ok(),
            _ => None,
        };
        match object.u64(name) {
            Ok(number) => assert_eq!(Some(number), wanted, "`{name}` read as another number"),
            Err(error) => {
                assert!(wanted.is_none(), "{wanted:?} refused: {error}");
                drop(Problem::from(error));
            }
        }
        drop(object.optional_u64(name));
    }
    match (object.bytes("value", "value_base64"), other.get("value"), other.get("value_base64")) {
        (Ok(bytes), Some(Value::String(text)), None) => assert_eq!(&*bytes, text.as_bytes()),
        (Ok(bytes), None, Some(Value::String(text))) => assert!(bytes.len() <= text.len()),
        (Ok(_), plain, encoded) => panic!("read from {plain:?} and {encoded:?}"),
        (Err(error), Some(Value::String(_)), None) => panic!("a string refused: {error}"),
        (Err(error), ..) => drop(Problem::from(error)),
    }
}

/// Any bytes as a binary frame, as they are and behind a header that fits: refused, or read as operations and keys that
/// are slices of it, by the reader of bodies and by the reader of files alike.
pub fn binary_frame(data: &[u8]) {
    understand_frame(data);
    for kind in [Kind::Operations, Kind::Keys] {
        for records in
            [None, Some(data.len() as u64 / 24), Some(u64::from(data.first().copied().unwrap_or(0)))]
        {
            let mut framed = Vec::new();
            write_header(&mut framed, kind, records);
            framed.extend_from_slice(data);
            understand_frame(&framed);
        }
    }
}

fn understand_frame(data: &[u8]) {
    const LIMIT: u32 = 1000;
    let bytes = Bytes::copy_from_slice(data);
    match read_keys(bytes.clone()) {
        Ok(keys) => assert!(keys.len() * 8 <= data.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match read_operations(bytes, LIMIT) {
        Ok(operations) => {
            let values: usize = operations.iter().map(|operation| operation.op.bytes()).sum();
            assert!(values + operations.len() * RECORD_BYTES <= data.len(), "more came out than went in");
            assert!(operations.iter().all(|operation| operation.op.bytes() <= LIMIT as usize));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    records(&[&[3], data].concat());
}

/// Any text as a query string and as a path.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Query::parse(Some(text), &["key", "start", "end", "keys"]) {
        Ok(query) => {
            for name in ["key", "start", "end"] {
                match (query.u64(name), query.get(name)) {
                    (Ok(number), Some(text)) => {
                        assert!(text.bytes().all(|byte| byte.is_ascii_digit()));
                        assert_eq!(number.to_string(), canonical(text));
                    }
                    (Ok(number), None) => panic!("{number} out of nothing"),
                    (Err(error), _) => drop(Problem::from(error)),
                }
                drop(query.optional_u64(name));
            }
            drop(query.keys_as_strings());
        }
        Err(error) => assert!(!Problem::from(error).detail.is_empty()),
    }
    if let Some((route, key)) = Route::find(text) {
        assert_eq!(route.path().replace("{key}", key), text, "the path of another route");
        if let Ok(number) = path_number("key", key) {
            assert_eq!(number.to_string(), canonical(key));
        }
    }
}

fn canonical(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    }
}

/// Any bytes as `Host` and `Authorization` headers, once or twice: never let through but for a name of this machine, or
/// the very token.
pub fn headers(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, value.clone());
    if names_loopback(&headers, None) {
        let name = value.to_str().expect("text").to_ascii_lowercase();
        let without_port = name.trim_end_matches(|last: char| last.is_ascii_digit()).strip_suffix(':');
        let local = [Some(name.as_str()), without_port].into_iter().flatten().any(|host| {
            let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let address = bracketed.unwrap_or(host).parse();
            host == "localhost" || address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        });
        assert!(local, "{name:?} is not local");
    }
    if let Ok(text) = value.to_str() {
        let target = names_loopback(&HeaderMap::new(), Some(text));
        assert_eq!(target, names_loopback(&headers, None), "{text:?}: target and header differ");
    }
    let mut tokens = Tokens::default();
    tokens.add("s3cret", Role::Admin, "test").expect("a token");
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value.clone());
    let right = data.get(7..).is_some_and(|rest| rest.trim_ascii() == b"s3cret");
    assert!(tokens.check(&headers, Access::Write, false).is_err() || right, "let in with {value:?}");
    if mode & 1 == 1 {
        headers.append(AUTHORIZATION, value);
        assert!(tokens.check(&headers, Access::Write, false).is_err(), "two credentials let in");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        drop(Tokens::default().add(text, Role::Read, "test"));
    }
}

#[cfg(test)]
mod tests {
    use super::{binary_frame, headers, json_body, query, records};

    /// Random texts of these pieces, which a seed determines.
    fn texts(seed: u64, count: usize, pieces: &'static [&'static str]) -> impl Iterator<Item = Vec<u8>> {
        let mut state = seed;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 16
        };
        (0..count).map(move |_| {
            let mut text = Vec::new();
            for _ in 0..random() % 14 {
                match random() % 16 {
                    0 => text.push(random() as u8),
                    _ => text.extend_from_slice(pieces[random() as usize % pieces.len()].as_bytes()),
                }
            }
            text
        })
    }

    const JSON: &[&str] = &[
        "{",
        "}",
        "\"key\"",
        ":",
        ",",
        "\"value\"",
        "\"value_base64\"",
        "1",
        "18446744073709551616",
        "-0",
        "1e3",
        "\"7\"",
        "\"\\u0000\\ud800\"",
        "\"/w==\"",
        "null",
        "[",
        "]",
        " ",
        "\n",
        "key,value\n",
        "\"",
    ];

    #[test]
    fn random_bodies() {
        json_body(br#"{"key":7,"value":"a\u0062"}"#);
        for text in texts(31, 20_000, JSON) {
            json_body(&text);
            json_body(&[b"{\"key\":", text.as_slice(), b"}"].concat());
        }
    }

    #[test]
    fn random_queries_and_paths() {
        let pieces = &[
            "key",
            "=",
            "&",
            "start",
            "keys",
            "string",
            "0",
            "18446744073709551615",
            "%37",
            "+",
            "%",
            "/v1/",
            "get_fast",
            "/",
            "lookup",
        ];
        texts(32, 20_000, pieces).for_each(|text| query(&text));
    }

    #[test]
    fn random_headers() {
        let pieces = &[
            "localhost",
            ":",
            "8080",
            "[",
            "]",
            "::1",
            "127.0.0.1",
            ".",
            "evil",
            "Bearer ",
            "s3cret",
            " ",
            "bearer",
        ];
        texts(33, 20_000, pieces).for_each(|text| headers(&text));
    }

    #[test]
    fn random_frames() {
        let pieces = &["KYF1", "\u{1}", "\u{2}", "\0\0\0", "\0\0\0\0\0\0\0\0", "\u{3}\0\0\0", "abc"];
        texts(35, 20_000, pieces).for_each(|text| binary_frame(&text));
    }

    #[test]
    fn random_files() {
        for text in texts(34, 6_000, JSON) {
            records(&[&[0], text.as_slice()].concat());
            records(&[b"\x01key,value\n", text.as_slice()].concat());
        }
    }
}

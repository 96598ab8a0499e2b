//! Keys and values: put, append, and the four lookups.

use std::mem;
use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use crate::answer::{self, Answer, OCTETS_VALUE};
use crate::app::App;
use crate::body::Body;
use crate::call::Call;
use crate::decimal::write_u64;
use crate::fields::{FieldError, Object, Query};
use crate::metrics::Stopwatch;
use crate::problem::{Code, Problem};
use crate::together::Single;
use crate::write::commit_single;

/// `POST /v1/put`
pub(crate) async fn put(call: Call) -> Answer {
    call.query(&[])?;
    let (received, _, app, _) = call.read_body().await?;
    let latency = Stopwatch::start(&app.metrics.append_latency);
    let object = Object::parse(&received.bytes, &["key", "value", "value_base64"])?;
    let key = object.u64("key")?;
    let value = object.bytes("value", "value_base64")?;
    let offset = commit_single(app.engine()?, Single::Put { key, value: &value }).await?;
    latency.stop();
    Ok(answer::offset(offset))
}

/// `POST /v1/append`: an event without a key.
pub(crate) async fn append(call: Call) -> Answer {
    call.query(&[])?;
    let (received, _, app, _) = call.read_body().await?;
    let latency = Stopwatch::start(&app.metrics.append_latency);
    let object = Object::parse(&received.bytes, &["payload", "payload_base64"])?;
    let payload = object.bytes("payload", "payload_base64")?;
    let offset = commit_single(app.engine()?, Single::Append { payload: &payload }).await?;
    latency.stop();
    Ok(answer::offset(offset))
}

/// `GET /v1/get_fast/{key}`: the value's bytes as they are, not copied.
#[inline]
pub(crate) fn get_fast(app: &App, key: Result<u64, FieldError>, head: &mut Parts) -> Answer {
    refuse_query(head)?;
    let value = app.engine()?.get(key?)?;
    Ok(octets(value.map(Body::from), head))
}

/// `GET /v1/lookup_fast/{key}`: the offset of the key's value, as 8 bytes, little-endian.
#[inline]
pub(crate) fn lookup_fast(app: &App, key: Result<u64, FieldError>, head: &mut Parts) -> Answer {
    refuse_query(head)?;
    let offset = app.engine()?.offset(key?)?;
    Ok(octets(offset.map(Body::number), head))
}

/// These routes know no parameters.
#[inline]
fn refuse_query(head: &Parts) -> Result<(), FieldError> {
    match head.uri.query() {
        None => Ok(()),
        query => Query::parse(query, &[]).map(|_| ()),
    }
}

/// Raw bytes, or 404 without a body. The answer takes the request's header map: its memory is there already.
#[inline]
fn octets(body: Option<Body>, head: &mut Parts) -> Response<Body> {
    let Some(body) = body else { return answer::empty(StatusCode::NOT_FOUND) };
    let mut headers = mem::take(&mut head.headers);
    headers.clear();
    headers.insert(CONTENT_TYPE, OCTETS_VALUE.clone());
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// The key that a lookup by query names.
pub(crate) fn key_of_query(query: Option<&str>) -> Result<u64, FieldError> {
    Query::parse(query, &["key", "keys"])?.u64("key")
}

/// `GET /v1/lookup?key=`
pub(crate) fn lookup(app: &App, query: Option<&str>) -> Answer {
    let query = Query::parse(query, &["key", "keys"])?;
    let key = query.u64("key")?;
    let as_string = query.keys_as_strings()?;
    let value = app.engine()?.get(key)?.ok_or_else(not_found)?;
    let mut text = Vec::with_capacity(value.len() + 64);
    text.extend_from_slice(b"{\"key\":");
    write_key(&mut text, key, as_string);
    text.push(b',');
    write_bytes(&mut text, "value", "value_base64", &value);
    text.push(b'}');
    Ok(answer::json(text))
}

/// `GET /v1/lookup_raw?key=`: whether the key has a value.
pub(crate) fn lookup_raw(app: &App, query: Option<&str>) -> Answer {
    let key = Query::parse(query, &["key"])?.u64("key")?;
    if app.engine()?.contains(key)? { Ok(answer::empty(StatusCode::NO_CONTENT)) } else { Err(not_found()) }
}

/// `GET /v1/offset`: the offset that the next write will get.
pub(crate) fn next_offset(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::offset(app.engine()?.next_offset()))
}

pub(crate) fn not_found() -> Problem {
    Problem::new(Code::NotFound, "the key has no value")
}

/// Writes a key as a JSON number, or as a string of digits.
pub(crate) fn write_key(out: &mut Vec<u8>, key: u64, as_string: bool) {
    if as_string {
        out.push(b'"');
    }
    write_u64(out, key);
    if as_string {
        out.push(b'"');
    }
}

/// Writes `"plain":"text"`, or `"encoded":"base64"` where the bytes are not UTF-8.
pub(crate) fn write_bytes(out: &mut Vec<u8>, plain: &str, encoded: &str, bytes: &[u8]) {
    out.push(b'"');
    if let Ok(text) = str::from_utf8(bytes) {
        out.extend_from_slice(plain.as_bytes());
        out.extend_from_slice(b"\":");
        serde_json::to_writer(out, text).unwrap_or_default(); // writing into memory does not fail
    } else {
        out.extend_from_slice(encoded.as_bytes());
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(BASE64.encode(bytes).as_bytes());
        out.push(b'"');
    }
}

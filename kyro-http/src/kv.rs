//! Keys and values: put, append, and the four lookups.

use std::str;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use hyper::body::Incoming;
use kyro_engine::{Batch, Commit, Engine, WriteError};

use crate::answer::{self, Answer};
use crate::app::App;
use crate::fields::{Object, Query, path_key};
use crate::metrics::Stopwatch;
use crate::problem::{Code, Problem};

const OCTETS: &str = "application/octet-stream";

/// `POST /v1/put`
pub(crate) async fn put(app: Arc<App>, query: Option<String>, body: Incoming) -> Answer {
    Query::parse(query.as_deref(), &[])?;
    let latency = Stopwatch::start(&app.metrics.append_latency);
    let received = app.bodies.read(body).await?;
    let object = Object::parse(&received.bytes, &["key", "value", "value_base64"])?;
    let key = object.u64("key")?;
    let value = object.bytes("value", "value_base64")?;
    let offset = commit(app.engine()?, || {
        let mut batch = Batch::with_capacity(value.len() + 16);
        batch.put(key, &value);
        batch
    });
    let offset = offset.await?;
    latency.stop();
    Ok(answer::offset(offset))
}

/// `POST /v1/append`: an event without a key.
pub(crate) async fn append(app: Arc<App>, query: Option<String>, body: Incoming) -> Answer {
    Query::parse(query.as_deref(), &[])?;
    let latency = Stopwatch::start(&app.metrics.append_latency);
    let received = app.bodies.read(body).await?;
    let object = Object::parse(&received.bytes, &["payload", "payload_base64"])?;
    let payload = object.bytes("payload", "payload_base64")?;
    let offset = commit(app.engine()?, || {
        let mut batch = Batch::with_capacity(payload.len() + 16);
        batch.append(&payload);
        batch
    });
    let offset = offset.await?;
    latency.stop();
    Ok(answer::offset(offset))
}

/// Commits one batch, and waits a little where the engine holds writers back: a flush that is under way ends the
/// stall, and a client that is told to come back would only come back.
async fn commit(engine: &Engine, batch: impl Fn() -> Batch) -> Result<u64, Problem> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut pause = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    let commit: Commit = loop {
        match engine.write(batch()) {
            Ok(commit) => break commit,
            Err(WriteError::Busy { .. }) if waited < PATIENCE => {
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = (pause * 2).min(Duration::from_millis(64));
            }
            Err(error) => return Err(error.into()),
        }
    };
    Ok(commit.await?.first_offset)
}

/// `GET /v1/get_fast/{key}`: the value's bytes as they are, not copied.
pub(crate) fn get_fast(app: &App, key: &str, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    let value = app.engine()?.get(path_key(key)?)?;
    Ok(value.map_or_else(|| answer::empty(StatusCode::NOT_FOUND), |value| answer::with_type(OCTETS, value)))
}

/// `GET /v1/lookup_fast/{key}`: the offset of the key's value, as 8 bytes, little-endian.
pub(crate) fn lookup_fast(app: &App, key: &str, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    let offset = app.engine()?.offset(path_key(key)?)?;
    Ok(offset.map_or_else(
        || answer::empty(StatusCode::NOT_FOUND),
        |offset| answer::with_type(OCTETS, offset.to_le_bytes().to_vec()),
    ))
}

/// `GET /v1/lookup?key=`
pub(crate) fn lookup(app: &App, query: Option<&str>) -> Answer {
    let query = Query::parse(query, &["key", "keys"])?;
    let key = query.u64("key")?;
    let as_string = query.keys_as_strings()?;
    let value = app.engine()?.get(key)?.ok_or_else(|| not_found(key))?;
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
    if app.engine()?.contains(key)? { Ok(answer::empty(StatusCode::NO_CONTENT)) } else { Err(not_found(key)) }
}

/// `GET /v1/offset`: the offset that the next write will get.
pub(crate) fn next_offset(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::offset(app.engine()?.next_offset()))
}

fn not_found(key: u64) -> Problem {
    Problem::new(Code::NotFound, format!("there is no value for key {key}"))
}

/// Writes a key as a JSON number, or as a string of digits.
pub(crate) fn write_key(out: &mut Vec<u8>, key: u64, as_string: bool) {
    let digits = key.to_string();
    if as_string {
        out.push(b'"');
    }
    out.extend_from_slice(digits.as_bytes());
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

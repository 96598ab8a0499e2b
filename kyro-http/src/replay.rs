//! `/v1/replay`: past operations, as a JSON array or as NDJSON, streamed as fast as the client reads.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap};
use kyro_engine::{Event, EventOp, ReadError, Replay};
use tokio::task::spawn_blocking;

use crate::answer::{self, Answer};
use crate::app::{App, Life, reach};
use crate::body::{Body, Writer};
use crate::engine_errors::internal;
use crate::fields::{FieldError, Object, Query};
use crate::kv::{write_bytes, write_key};
use crate::problem::{Code, Problem};

/// A chunk is sent when it has grown to this size. One event may be larger.
pub(crate) const CHUNK_BYTES: usize = 128 << 10;

const NDJSON: &str = "application/x-ndjson";
const FIELDS: &[&str] = &["start", "end", "limit"];
const PARAMETERS: &[&str] = &["start", "end", "limit", "keys"];

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u64,
    end: Option<u64>,
    limit: u64,
}

/// `GET /v1/replay`
pub(crate) async fn get(app: Arc<App>, headers: HeaderMap, query: Option<String>) -> Answer {
    let query = Query::parse(query.as_deref(), PARAMETERS)?;
    let range = Range {
        start: query.optional_u64("start")?.unwrap_or(0),
        end: query.optional_u64("end")?,
        limit: query.optional_u64("limit")?.unwrap_or(u64::MAX),
    };
    stream(app, &headers, range, query.keys_as_strings()?).await
}

/// `POST /v1/replay`: the same as a JSON object; an empty body asks for everything.
pub(crate) async fn post(app: Arc<App>, headers: HeaderMap, query: Option<String>, body: Incoming) -> Answer {
    let keys_as_strings = Query::parse(query.as_deref(), &["keys"])?.keys_as_strings()?;
    let received = app.bodies.read(body).await?;
    let range = match Object::parse(&received.bytes, FIELDS) {
        Err(FieldError::Empty) => Range { start: 0, end: None, limit: u64::MAX },
        object => {
            let object = object?;
            Range {
                start: object.optional_u64("start")?.unwrap_or(0),
                end: object.optional_u64("end")?,
                limit: object.optional_u64("limit")?.unwrap_or(u64::MAX),
            }
        }
    };
    stream(app, &headers, range, keys_as_strings).await
}

async fn stream(app: Arc<App>, headers: &HeaderMap, range: Range, keys_as_strings: bool) -> Answer {
    let ndjson = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.to_ascii_lowercase().contains(NDJSON));
    let place = place(&app)?;
    let engine = app.engine()?.clone();
    let end = range.end.map_or_else(|| engine.next_offset(), |end| end.min(engine.next_offset()));
    // Opening reads the log: not for the connection's thread.
    let opened = spawn_blocking(move || engine.replay(range.start, Some(end))).await;
    let replay = opened.map_err(|error| internal(&error))??;
    let events =
        Events { replay, remaining: range.limit, form: Form { ndjson, keys_as_strings }, first: true };
    let (writer, body) = Body::stream(Some(place));
    tokio::spawn(write_all(app, writer, events));
    let mut response = answer::with_type(if ndjson { NDJSON } else { "application/json" }, Bytes::new());
    *response.body_mut() = body;
    Ok(response)
}

/// A place among the streams that may be open at a time.
pub(crate) fn place(app: &App) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        let limit = app.limits.max_streams;
        Problem::new(Code::TooManyStreams, format!("{limit} streams are open, the most at a time"))
            .retry_after(5)
    })
}

async fn write_all(app: Arc<App>, writer: Writer, mut events: Events) {
    let mut life = app.watch_life();
    loop {
        // The log is read on a thread that may block; while the client is slow, no thread is held.
        let (chunk, done, back) = match spawn_blocking(move || events.fill()).await {
            Ok(Ok(filled)) => filled,
            Ok(Err(error)) => {
                tracing::error!(error = kyro_engine::describe(&error), "a replay broke off");
                return writer.break_off("the log could not be read".to_owned());
            }
            Err(_) => return writer.break_off("the server is stopping".to_owned()),
        };
        events = back;
        if done {
            return writer.finish_with(chunk);
        }
        tokio::select! {
            sent = writer.send(chunk) => if sent.is_err() { return },
            () = reach(&mut life, Life::Cut) => return,
        }
    }
}

/// Events on their way into text.
struct Events {
    replay: Replay,
    remaining: u64,
    form: Form,
    first: bool,
}

impl Events {
    /// The next chunk of text, and whether it is the last. Blocks on the disk.
    fn fill(mut self) -> Result<(Bytes, bool, Self), ReadError> {
        let mut text = Vec::with_capacity(CHUNK_BYTES + 4096);
        if self.first && !self.form.ndjson {
            text.push(b'[');
        }
        let mut done = false;
        while text.len() < CHUNK_BYTES {
            let event = if self.remaining == 0 { None } else { self.replay.next().transpose()? };
            let Some(event) = event else {
                done = true;
                break;
            };
            self.remaining -= 1;
            if !self.first && !self.form.ndjson {
                text.push(b',');
            }
            self.first = false;
            write_event(&mut text, &event, self.form.keys_as_strings);
            if self.form.ndjson {
                text.push(b'\n');
            }
        }
        if done && !self.form.ndjson {
            text.push(b']');
        }
        Ok((Bytes::from(text), done, self))
    }
}

#[derive(Debug, Clone, Copy)]
struct Form {
    ndjson: bool,
    keys_as_strings: bool,
}

/// Writes one event as a JSON object on one line.
pub(crate) fn write_event(out: &mut Vec<u8>, event: &Event, keys_as_strings: bool) {
    out.extend_from_slice(b"{\"offset\":");
    out.extend_from_slice(event.offset.to_string().as_bytes());
    let (op, key, payload) = match &event.op {
        EventOp::Put { key, value } => ("put", Some(*key), Some(value)),
        EventOp::Delete { key } => ("delete", Some(*key), None),
        EventOp::Append { payload } => ("append", None, Some(payload)),
        _ => ("unknown", None, None),
    };
    if let Some(key) = key {
        out.extend_from_slice(b",\"key\":");
        write_key(out, key, keys_as_strings);
    }
    out.extend_from_slice(b",\"op\":\"");
    out.extend_from_slice(op.as_bytes());
    out.push(b'"');
    if let Some(payload) = payload {
        out.push(b',');
        write_bytes(out, "payload", "payload_base64", payload);
    }
    out.push(b'}');
}

//! `/v1/replay`: past operations, as a JSON array or as NDJSON, streamed as fast as the client reads.

use std::sync::Arc;

use hyper::header::HeaderMap;
use kyro_engine::{Event, EventOp, ReadError, Replay};
use tokio::task::spawn_blocking;

use crate::answer::Answer;
use crate::app::App;
use crate::call::{Call, Form};
use crate::decimal::write_u64;
use crate::engine_errors::internal;
use crate::fields::{FieldError, Object};
use crate::kv::{write_bytes, write_key};
use crate::rate_limit::Client;
use crate::streaming::{CHUNK_BYTES, Place, Source, stream};

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
pub(crate) async fn get(call: Call) -> Answer {
    let query = call.query(PARAMETERS)?;
    let range = Range {
        start: query.optional_u64("start")?.unwrap_or(0),
        end: query.optional_u64("end")?,
        limit: query.optional_u64("limit")?.unwrap_or(u64::MAX),
    };
    let keys_as_strings = query.keys_as_strings()?;
    answer(call.app, &call.client, &call.head.headers, range, keys_as_strings).await
}

/// `POST /v1/replay`: the same as a JSON object; an empty body asks for everything.
pub(crate) async fn post(call: Call) -> Answer {
    let keys_as_strings = call.query(&["keys"])?.keys_as_strings()?;
    let (received, head, app, client) = call.read_body().await?;
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
    answer(app, &client, &head.headers, range, keys_as_strings).await
}

async fn answer(
    app: Arc<App>,
    client: &Arc<Client>,
    headers: &HeaderMap,
    range: Range,
    keys_as_strings: bool,
) -> Answer {
    let form = Form::of_answer(headers, &[Form::Json, Form::Ndjson]);
    let place = Place::take(&app, client)?;
    let engine = app.engine()?.clone();
    let end = range.end.map_or_else(|| engine.next_offset(), |end| end.min(engine.next_offset()));
    // Opening reads the log: not for the connection's thread.
    let opened = spawn_blocking(move || engine.replay(range.start, Some(end))).await;
    let replay = opened.map_err(|error| internal(&error))??;
    let events =
        Events { replay, remaining: range.limit, ndjson: form == Form::Ndjson, keys_as_strings, first: true };
    Ok(stream(app, place, events, form.media_type()))
}

/// Events on their way into text.
struct Events {
    replay: Replay,
    remaining: u64,
    ndjson: bool,
    keys_as_strings: bool,
    first: bool,
}

impl Source for Events {
    fn fill(&mut self, text: &mut Vec<u8>) -> Result<bool, ReadError> {
        if self.first && !self.ndjson {
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
            if !self.first && !self.ndjson {
                text.push(b',');
            }
            self.first = false;
            write_event(text, &event, self.keys_as_strings);
            if self.ndjson {
                text.push(b'\n');
            }
        }
        if done && !self.ndjson {
            text.push(b']');
        }
        Ok(done)
    }
}

/// Writes one event as a JSON object on one line.
pub(crate) fn write_event(out: &mut Vec<u8>, event: &Event, keys_as_strings: bool) {
    out.extend_from_slice(b"{\"offset\":");
    write_u64(out, event.offset);
    let (op, key, payload) = match &event.op {
        EventOp::Put { key, value } => ("put", Some(*key), Some(value)),
        EventOp::Delete { key } => ("delete", Some(*key), None),
        EventOp::DeleteRange { .. } => ("delete_range", None, None),
        EventOp::Append { payload } => ("append", None, Some(payload)),
        EventOp::Version { .. } => ("version", None, None),
        EventOp::Layer { .. } => ("layer", None, None),
        _ => ("unknown", None, None),
    };
    if let EventOp::DeleteRange { from, to } = event.op {
        out.extend_from_slice(b",\"from\":");
        write_key(out, from, keys_as_strings);
        out.extend_from_slice(b",\"to\":");
        write_key(out, to, keys_as_strings);
    }
    if let EventOp::Version { id, .. } = event.op {
        out.extend_from_slice(b",\"version\":");
        write_u64(out, id.0);
    }
    if let EventOp::Version { label, .. } | EventOp::Layer { label } = &event.op {
        out.push(b',');
        write_bytes(out, "label", "label_base64", label.as_bytes());
    }
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

//! The log as a stream, past then live: `/v1/subscribe` as Server-Sent Events, `/v1/changes?stream=true` as NDJSON.
//!
//! A stream holds two chunks of text and its place in the log, whatever the reader's speed: it reads the log in
//! chunks on a thread that may block, and waits for the engine only when it has caught up. Nothing is ever skipped
//! silently. A reader that takes nothing for too long, or falls behind what the log still holds, gets a last
//! `event: lagged` that names where to go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use kyro_engine::{Engine, Event, ReadError, Replay};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::answer::{self, Answer};
use crate::app::{App, Life, reach};
use crate::body::{Body, Writer};
use crate::call::{Call, Form};
use crate::decimal::{parse_u64, write_u64};
use crate::engine_errors::internal;
use crate::fields::FieldError;
use crate::rate_limit::Client;
use crate::replay::write_event;
use crate::streaming::{CHUNK_BYTES, Place};

/// A comment is sent this often when nothing happens, so that both ends notice a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Server-Sent Events.
    Sse,
    /// One JSON document a line.
    Ndjson,
}

impl Shape {
    fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => Form::Ndjson.media_type(),
        }
    }

    /// The first bytes go out at once: the reader sees that the stream stands, and how soon to come back.
    fn first(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Sse => b"retry: 2000\n\n",
            Self::Ndjson => b"\n",
        })
    }

    fn heartbeat(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Sse => b":\n\n",
            Self::Ndjson => b"\n",
        })
    }

    fn event(self, text: &mut Vec<u8>, event: &Event, keys_as_strings: bool) {
        if self == Self::Ndjson {
            write_event(text, event, keys_as_strings);
            return text.push(b'\n');
        }
        text.extend_from_slice(b"id: ");
        write_u64(text, event.offset);
        text.extend_from_slice(b"\ndata: ");
        write_event(text, event, keys_as_strings);
        text.extend_from_slice(b"\n\n");
    }

    /// The last event; `data` is a JSON object.
    fn last(self, name: &str, data: &str) -> Bytes {
        Bytes::from(match self {
            Self::Sse => format!("event: {name}\ndata: {data}\n\n"),
            Self::Ndjson => format!("{{\"end\":\"{name}\",{}\n", data.trim_start_matches('{')),
        })
    }
}

/// `GET /v1/subscribe`
pub(crate) async fn get(call: Call) -> Answer {
    let query = call.query(&["from", "keys"])?;
    let from = match last_event_id(&call.head.headers)? {
        Some(last) => last.saturating_add(1),
        None => query.optional_u64("from")?.unwrap_or(0),
    };
    let keys_as_strings = query.keys_as_strings()?;
    follow(call.app, &call.client, from, keys_as_strings, Shape::Sse).await
}

/// Streams events from an offset on, past then live.
pub(crate) async fn follow(
    app: Arc<App>,
    client: &Arc<Client>,
    from: u64,
    keys_as_strings: bool,
    shape: Shape,
) -> Answer {
    let place = Place::take(&app, client)?;
    let engine = app.engine()?.clone();
    let opening = engine.clone();
    let opened = spawn_blocking(move || opening.replay(from, None)).await;
    let replay = opened.map_err(|error| internal(&error))??;
    let (writer, body) = Body::stream(Some(place));
    let feed = Feed { app, engine, writer, next: from, keys_as_strings, shape };
    tokio::spawn(feed.run(replay));
    let mut response = answer::with_type(shape.media_type(), Bytes::new());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = body;
    Ok(response)
}

/// What a reader that comes back has seen last; an empty id counts as none.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, FieldError> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let wrong = || FieldError::invalid("Last-Event-ID", "must be the offset of an event");
    value.to_str().map_err(|_| wrong()).and_then(|text| parse_u64(text).map_err(|_| wrong())).map(Some)
}

/// One stream on its way to one reader.
struct Feed {
    app: Arc<App>,
    engine: Engine,
    writer: Writer,
    /// The offset to go on at: everything below it has been sent or was not asked for.
    next: u64,
    keys_as_strings: bool,
    shape: Shape,
}

/// Why a stream ends.
enum End {
    /// The reader left, or the connection was cut.
    Gone,
    /// With a last event for the reader.
    Event(&'static str, String),
    /// The log could not be read: the reader must not take this for an end.
    Broken(ReadError),
}

impl Feed {
    async fn run(mut self, replay: Replay) {
        let end = self.follow(replay).await;
        let next = self.next;
        match end {
            End::Gone => self.writer.finish_with(Bytes::new()),
            End::Event(name, data) => {
                if name == "lagged" {
                    self.app.metrics.sse_lagged.fetch_add(1, Ordering::Relaxed);
                }
                self.writer.finish_with(self.shape.last(name, &data));
            }
            End::Broken(error) => {
                tracing::error!(error = kyro_engine::describe(&error), next, "an event stream broke off");
                self.writer.break_off("the log could not be read".to_owned());
            }
        }
    }

    async fn follow(&mut self, mut replay: Replay) -> End {
        let mut life = self.app.watch_life();
        if let Some(end) = self.send(self.shape.first()).await {
            return end;
        }
        loop {
            let (shape, keys_as_strings) = (self.shape, self.keys_as_strings);
            let Ok((text, error, back)) = spawn_blocking(move || fill(replay, shape, keys_as_strings)).await
            else {
                return End::Gone;
            };
            replay = back;
            if !text.is_empty()
                && let Some(end) = self.send(text).await
            {
                return end;
            }
            self.next = self.next.max(replay.next_offset());
            match error {
                None => {}
                Some(ReadError::HistoryGone { oldest }) => return self.lagged(oldest),
                Some(error) => return End::Broken(error),
            }
            if *life.borrow() >= Life::Draining {
                return End::Event("shutdown", format!("{{\"resume\":{}}}", self.next));
            }
            if self.engine.next_offset() <= self.next {
                tokio::select! {
                    next = self.engine.visible_after(self.next) => if next <= self.next {
                        return End::Event("shutdown", format!("{{\"resume\":{}}}", self.next));
                    },
                    () = self.writer.reader_gone() => return End::Gone,
                    () = reach(&mut life, Life::Draining) => {}
                    () = tokio::time::sleep(HEARTBEAT) => if let Some(end) = self.send(self.shape.heartbeat()).await {
                        return end;
                    },
                }
            }
        }
    }

    /// Sends a chunk, unless the reader leaves or takes nothing for half the time after which its connection is cut:
    /// that leaves it the other half to read why.
    async fn send(&self, text: Bytes) -> Option<End> {
        let patience = self.app.limits.deadlines.write / 2;
        match timeout(patience, self.writer.send(text)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(End::Gone),
            Err(_) => Some(self.lagged(self.next)),
        }
    }

    fn lagged(&self, resume: u64) -> End {
        End::Event("lagged", format!("{{\"resume\":{resume},\"missed_from\":{}}}", self.next))
    }
}

/// The next chunk of events as text; empty when the reader has caught up. Blocks on the disk. An error comes with
/// what was read before it.
fn fill(mut replay: Replay, shape: Shape, keys_as_strings: bool) -> (Bytes, Option<ReadError>, Replay) {
    let mut text = Vec::new();
    let mut error = None;
    while text.len() < CHUNK_BYTES {
        match replay.next() {
            None => break,
            Some(Err(failed)) => {
                error = Some(failed);
                break;
            }
            Some(Ok(event)) => {
                shape.event(&mut text, &event, keys_as_strings);
            }
        }
    }
    (Bytes::from(text), error, replay)
}

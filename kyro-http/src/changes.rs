//! `GET /v1/changes`: the log as NDJSON: one page after a long poll, or a stream that goes on.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::answer::{self, Answer};
use crate::app::{Life, reach};
use crate::call::{Call, Form};
use crate::engine_errors::internal;
use crate::fields::FieldError;
use crate::replay::write_event;
use crate::streaming::{CHUNK_BYTES, Place};
use crate::subscribe::{self, Shape};

/// The longest that a poll waits.
const WAIT_SECONDS_MAX: u64 = 60;
/// Events of one page at most.
const PAGE_MAX: u64 = 100_000;

/// `GET /v1/changes`
pub(crate) async fn get(call: Call) -> Answer {
    let query = call.query(&["since", "wait", "limit", "stream", "keys"])?;
    let since = query.optional_u64("since")?.unwrap_or(0);
    let wait = query.optional_u64("wait")?.unwrap_or(0);
    let limit = query.optional_u64("limit")?.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let keys_as_strings = query.keys_as_strings()?;
    if wait > WAIT_SECONDS_MAX {
        let reason = format!("must be at most {WAIT_SECONDS_MAX} seconds");
        return Err(FieldError::invalid("wait", reason).into());
    }
    if query.truth("stream")?.unwrap_or(false) {
        if wait > 0 {
            return Err(FieldError::invalid("wait", "makes no sense beside stream=true").into());
        }
        return subscribe::follow(call.app, &call.client, since, keys_as_strings, Shape::Ndjson).await;
    }
    let _place = Place::take(&call.app, &call.client)?;
    let app = call.app;
    let engine = app.engine()?.clone();
    if engine.next_offset() <= since && wait > 0 {
        let mut life = app.watch_life();
        let patience = timeout(Duration::from_secs(wait), engine.visible_after(since));
        tokio::select! {
            _either = patience => {}
            () = reach(&mut life, Life::Draining) => {}
        }
    }
    let page = spawn_blocking(move || {
        let mut text = Vec::new();
        let mut replay = engine.replay(since, Some(engine.next_offset()))?;
        let mut next = since;
        for _ in 0..limit {
            if text.len() >= 8 * CHUNK_BYTES {
                break;
            }
            let Some(event) = replay.next().transpose()? else {
                next = next.max(replay.next_offset());
                break;
            };
            next = event.offset + 1;
            write_event(&mut text, &event, keys_as_strings);
            text.push(b'\n');
        }
        text.extend_from_slice(format!("{{\"next\":{next}}}\n").as_bytes());
        Ok::<_, kyro_engine::ReadError>(text)
    });
    let text = page.await.map_err(|error| internal(&error))??;
    Ok(answer::with_type(Form::Ndjson.media_type(), text))
}

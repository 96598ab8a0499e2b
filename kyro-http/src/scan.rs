//! `/v1/scan`, `/v1/count`, `/v1/select`, `/v1/range`: keys in their order, from one view.

use kyro_engine::{Batch, ReadError, Scan, ScanIter};
use tokio::task::spawn_blocking;

use crate::answer::{self, Answer};
use crate::call::{Call, Form};
use crate::decimal::{parse_u64, write_u64};
use crate::engine_errors::internal;
use crate::fields::{FieldError, Query};
use crate::frame;
use crate::kv::{not_found, write_bytes, write_key};
use crate::problem::Problem;
use crate::streaming::{CHUNK_BYTES, Place, Source, stream};
use crate::write::commit;

/// `GET /v1/scan`: streamed from one view. A scan that ends at its limit and has more says where to go on.
pub(crate) fn get(call: Call) -> Answer {
    let query = call.query(&["from", "to", "limit", "reverse", "values", "cursor", "keys"])?;
    let (mut from, mut to) = range(&query)?;
    let limit = query.optional_u64("limit")?;
    let reverse = query.truth("reverse")?.unwrap_or(false);
    let values = query.truth("values")?.unwrap_or(true);
    let mut empty = from > to;
    if let Some(last) = query.get("cursor") {
        let last = last_of_cursor(last)?;
        let (next, past) = if reverse { last.overflowing_sub(1) } else { last.overflowing_add(1) };
        empty |= past;
        if reverse { to = to.min(next) } else { from = from.max(next) }
    }
    let form = Form::of_answer(&call.head.headers, &[Form::Ndjson, Form::Binary]);
    let keys_as_strings = query.keys_as_strings()?;
    // One more than is asked for tells whether there are more.
    let asked = limit.map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut scan =
        if empty || from > to { Scan::all().limit(0) } else { Scan::range(from..=to).limit(asked) };
    if reverse {
        scan = scan.reverse();
    }
    if !values {
        scan = scan.keys_only();
    }
    let place = Place::take(&call.app, &call.client)?;
    let iter = call.app.engine()?.scan(scan)?;
    let remaining = limit.unwrap_or(u64::MAX);
    let entries = Entries { iter, remaining, last: None, values, form, keys_as_strings, begun: false };
    Ok(stream(call.app, place, entries, form.media_type()))
}

/// `from` and `to`, both inclusive; everything where they are not given.
pub(crate) fn range(query: &Query<'_>) -> Result<(u64, u64), FieldError> {
    Ok((query.optional_u64("from")?.unwrap_or(0), query.optional_u64("to")?.unwrap_or(u64::MAX)))
}

fn last_of_cursor(text: &str) -> Result<u64, FieldError> {
    let digits = text.strip_prefix('k').and_then(|digits| parse_u64(digits).ok());
    digits.ok_or_else(|| FieldError::invalid("cursor", "must be the cursor that an earlier scan ended with"))
}

/// Entries on their way into an answer.
struct Entries {
    iter: ScanIter,
    remaining: u64,
    last: Option<u64>,
    values: bool,
    form: Form,
    keys_as_strings: bool,
    begun: bool,
}

impl Source for Entries {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let binary = self.form == Form::Binary;
        if !self.begun && binary {
            frame::write_header(out, frame::Kind::Entries, None);
        }
        self.begun = true;
        while out.len() < CHUNK_BYTES {
            let Some(entry) = self.iter.next_ref().transpose()? else {
                if binary {
                    frame::write_end(out, None);
                }
                return Ok(true);
            };
            if self.remaining == 0 {
                write_more(out, binary, self.last.unwrap_or(entry.key));
                return Ok(true);
            }
            self.remaining -= 1;
            self.last = Some(entry.key);
            let value = self.values.then_some(entry.value);
            if binary {
                frame::write_entry(out, entry.key, entry.offset, value);
            } else {
                write_line(out, entry.key, entry.offset, value, self.keys_as_strings);
                out.push(b'\n');
            }
        }
        Ok(false)
    }
}

/// The last line, or record, of a scan that has more.
fn write_more(out: &mut Vec<u8>, binary: bool, last: u64) {
    if binary {
        return frame::write_end(out, Some(last));
    }
    out.extend_from_slice(b"{\"cursor\":\"k");
    write_u64(out, last);
    out.extend_from_slice(b"\"}\n");
}

fn write_line(out: &mut Vec<u8>, key: u64, offset: u64, value: Option<&[u8]>, keys_as_strings: bool) {
    out.extend_from_slice(b"{\"key\":");
    write_key(out, key, keys_as_strings);
    out.extend_from_slice(b",\"offset\":");
    write_u64(out, offset);
    if let Some(value) = value {
        out.push(b',');
        write_bytes(out, "value", "value_base64", value);
    }
    out.push(b'}');
}

/// `GET /v1/count`: live keys from `from` to `to`, exactly.
pub(crate) async fn count(call: Call) -> Answer {
    let (from, to) = range(&call.query(&["from", "to"])?)?;
    let engine = call.app.engine()?.clone();
    let count = if from > to {
        0
    } else {
        spawn_blocking(move || engine.count(from..=to)).await.map_err(|error| internal(&error))??
    };
    Ok(answer::json(format!("{{\"count\":{count}}}")))
}

/// `DELETE /v1/range`: removes every key from `from` to `to`, as one operation. Both ends must be named: nothing that was
/// left out removes everything.
pub(crate) async fn delete_range(call: Call) -> Answer {
    let query = call.query(&["from", "to"])?;
    let (from, to) = (query.u64("from")?, query.u64("to")?);
    if from > to {
        return Err(FieldError::invalid("to", "must not be below `from`").into());
    }
    let (_, _, app, _) = call.read_body().await?;
    let batch = || {
        let mut batch = Batch::with_capacity(32);
        batch.delete_range(from..=to);
        batch
    };
    Ok(answer::offset(commit(app.engine()?, batch).await?.first_offset))
}

/// `GET /v1/select`: the entry at a rank, counted from 0 in the order of the keys.
pub(crate) async fn select(call: Call) -> Answer {
    let query = call.query(&["rank", "keys"])?;
    let (rank, keys_as_strings) = (query.u64("rank")?, query.keys_as_strings()?);
    let engine = call.app.engine()?.clone();
    let found = spawn_blocking(move || engine.select(rank)).await.map_err(|error| internal(&error))??;
    let entry = found.ok_or_else(|| Problem { detail: "there are fewer keys".into(), ..not_found() })?;
    let mut text = Vec::with_capacity(entry.value.len() + 64);
    write_line(&mut text, entry.key, entry.offset, Some(&entry.value), keys_as_strings);
    Ok(answer::json(text))
}

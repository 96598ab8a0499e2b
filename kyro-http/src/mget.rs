//! `POST /v1/mget`: many keys in one round trip, all answered from one view, in their order.

use std::time::{Duration, Instant};

use kyro_engine::{ReadError, View};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use tokio::task::spawn_blocking;

use crate::answer::{self, Answer};
use crate::call::{Call, Form};
use crate::cold;
use crate::decimal::parse_u64;
use crate::engine_errors::internal;
use crate::fields::FieldError;
use crate::frame;
use crate::kv::{write_bytes, write_key};
use crate::problem::{Code, Problem};
use crate::read_body::Received;
use crate::streaming::{CHUNK_BYTES, Place, Source, stream};

/// Keys handed to the engine at a time.
const STEP_KEYS: usize = 256;
/// The connection's own task looks keys up for so long, or a step longer; what is left then (many keys, or cold ones) goes to
/// a thread that may block.
const INLINE_TIME: Duration = Duration::from_micros(250);
/// An answer of up to this size is sent whole.
const WHOLE_BYTES: usize = 8 * CHUNK_BYTES;

/// `POST /v1/mget`
pub(crate) async fn post(call: Call) -> Answer {
    let keys_as_strings = call.query(&["keys"])?.keys_as_strings()?;
    let headers = &call.head.headers;
    let body_form = Form::of_body(headers, &[Form::Json, Form::Octets, Form::Binary])?;
    let form = Form::of_answer(headers, &[Form::Json, Form::Ndjson, Form::Binary]);
    let (received, _, app, client) = call.read_body().await?;
    let limit = app.limits.max_batch_keys;
    let keys = keys(&received, body_form, limit)?;
    drop(received);
    crate::service::charge_keys(&app, &client, keys.len())?;
    let view = app.engine()?.view()?;
    let mut values = Values { view, keys, next: 0, form, keys_as_strings, chunk_bytes: WHOLE_BYTES };
    let mut text = Vec::with_capacity((values.keys.len() * 80).min(WHOLE_BYTES));
    let start = Instant::now();
    let mut done = false;
    if cold::are_at_hand(app.engine()?, &values.keys) {
        done = values.fill_while(&mut text, || start.elapsed() < INLINE_TIME)?;
        cold::look();
    }
    if !done && text.len() < WHOLE_BYTES {
        let rest = move || {
            let done = values.fill(&mut text)?;
            Ok::<_, ReadError>((text, done, values))
        };
        (text, done, values) = spawn_blocking(rest).await.map_err(|error| internal(&error))??;
    }
    values.chunk_bytes = CHUNK_BYTES;
    if done {
        return Ok(answer::with_type(form.media_type(), text));
    }
    let place = Place::take(&app, &client)?;
    Ok(stream(app, place, Continued { first: text, rest: values }, form.media_type()))
}

fn keys(received: &Received, form: Form, limit: usize) -> Result<Vec<u64>, Problem> {
    let too_many = || Problem::new(Code::BatchTooLarge, format!("more than {limit} keys"));
    let bytes = &received.bytes;
    let keys = match form {
        Form::Octets => {
            let (keys, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Problem::new(Code::BadRequest, "the body must be whole keys of 8 bytes"));
            }
            if keys.len() > limit {
                return Err(too_many());
            }
            keys.iter().map(|key| u64::from_le_bytes(*key)).collect()
        }
        Form::Binary => frame::read_keys(bytes.clone())?,
        _ if bytes.iter().all(u8::is_ascii_whitespace) => return Err(FieldError::Empty.into()),
        _ => {
            let KeyList(keys) = serde_json::from_slice(bytes).map_err(|error| not_keys(&error))?;
            keys
        }
    };
    if keys.len() > limit { Err(too_many()) } else { Ok(keys) }
}

fn not_keys(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        // The text of a data error may repeat what it found.
        let place = format!("at line {} column {}", error.line(), error.column());
        return Problem::new(
            Code::InvalidField,
            format!("not an array of keys from 0 to 18446744073709551615, {place}"),
        );
    }
    Problem::new(Code::InvalidJson, format!("not a JSON array of keys: {error}"))
}

/// `[1,"2",3]`
struct KeyList(Vec<u64>);

impl<'de> Deserialize<'de> for KeyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = KeyList;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of keys")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<KeyList, A::Error> {
                let mut keys = Vec::new();
                while let Some(KeyText(key)) = list.next_element()? {
                    keys.push(key);
                }
                Ok(KeyList(keys))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// A key: a number, or a string of decimal digits.
struct KeyText(u64);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = KeyText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }
            fn visit_u64<E>(self, key: u64) -> Result<KeyText, E> {
                Ok(KeyText(key))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeyText, E> {
                parse_u64(text).map(KeyText).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Key)
    }
}

/// The values on their way into an answer.
struct Values {
    view: View,
    keys: Vec<u64>,
    next: usize,
    form: Form,
    keys_as_strings: bool,
    chunk_bytes: usize,
}

impl Source for Values {
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        self.fill_while(out, || true)
    }
}

impl Values {
    /// As [`Source::fill`], and as long as `goes_on` says so before each step but the first.
    fn fill_while(&mut self, out: &mut Vec<u8>, goes_on: impl Fn() -> bool) -> Result<bool, ReadError> {
        let begun = self.next;
        if self.next == 0 && out.is_empty() {
            match self.form {
                Form::Binary => frame::write_header(out, frame::Kind::Values, Some(self.keys.len() as u64)),
                Form::Json => out.push(b'['),
                _ => {}
            }
        }
        while self.next < self.keys.len() && out.len() < self.chunk_bytes && (self.next == begun || goes_on())
        {
            let end = self.keys.len().min(self.next + STEP_KEYS);
            let step = self.keys.get(self.next..end).unwrap_or_default();
            let (start, form, strings, enough) =
                (self.next, self.form, self.keys_as_strings, self.chunk_bytes);
            let mut written = 0;
            self.view.mget_with(step, |at, value| {
                // What does not fit any more is asked for again: large values must not pile up.
                if out.len() < enough && at == written {
                    written += 1;
                    let key = step.get(at).copied().unwrap_or_default();
                    write_value(out, form, strings, start + at == 0, key, value);
                }
            })?;
            self.next += written;
        }
        let done = self.next >= self.keys.len();
        if done && self.form == Form::Json {
            out.push(b']');
        }
        Ok(done)
    }
}

fn write_value(
    out: &mut Vec<u8>,
    form: Form,
    keys_as_strings: bool,
    first: bool,
    key: u64,
    value: Option<&[u8]>,
) {
    if form == Form::Binary {
        return frame::write_value(out, value);
    }
    if form == Form::Json && !first {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"key\":");
    write_key(out, key, keys_as_strings);
    out.push(b',');
    match value {
        Some(value) => write_bytes(out, "value", "value_base64", value),
        None => out.extend_from_slice(b"\"value\":null"),
    }
    out.push(b'}');
    if form == Form::Ndjson {
        out.push(b'\n');
    }
}

/// What was read already, then the rest.
struct Continued {
    first: Vec<u8>,
    rest: Values,
}

impl Source for Continued {
    fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<bool, ReadError> {
        if !self.first.is_empty() {
            *chunk = std::mem::take(&mut self.first);
            return Ok(false);
        }
        self.rest.fill(chunk)
    }
}

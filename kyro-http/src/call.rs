//! A request on its way into a handler that waits for something.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;

use crate::app::App;
use crate::fields::{FieldError, Query, path_number};
use crate::problem::{Code, Problem};
use crate::rate_limit::Client;
use crate::read_body::Received;
use crate::route::Route;

/// One request with everything a handler needs.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) client: Arc<Client>,
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
}

impl Call {
    /// The query's parameters, which must be among `known`.
    pub(crate) fn query(&self, known: &'static [&'static str]) -> Result<Query<'_>, FieldError> {
        Query::parse(self.head.uri.query(), known)
    }

    /// The number that stands in the path.
    pub(crate) fn path_number(&self, field: &'static str) -> Result<u64, FieldError> {
        let text = Route::find(self.head.uri.path()).map_or("", |(_, argument)| argument);
        path_number(field, text)
    }

    /// Reads the body to its end; bodies that are compressed are refused.
    pub(crate) async fn read_body(self) -> Result<(Received, Parts, Arc<App>, Arc<Client>), Problem> {
        refuse_encoding(&self.head.headers)?;
        let received = self.app.bodies.read(self.body).await?;
        Ok((received, self.head, self.app, self.client))
    }
}

/// A body in another encoding would be stored or parsed as what it is not.
pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let plain = |value: &[u8]| value.eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(|value| plain(value.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "a body with a Content-Encoding is not taken; send it plain",
    ))
}

/// A form that bodies and answers come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
    /// Comma-separated values.
    Csv,
    /// The binary frame.
    Binary,
    /// Bytes without further form.
    Octets,
}

const FORMS: [(Form, &str); 5] = [
    (Form::Json, "application/json"),
    (Form::Ndjson, "application/x-ndjson"),
    (Form::Csv, "text/csv"),
    (Form::Binary, crate::frame::MEDIA_TYPE),
    (Form::Octets, "application/octet-stream"),
];

impl Form {
    /// The media type that names it.
    pub(crate) fn media_type(self) -> &'static str {
        FORMS.iter().find(|(form, _)| *form == self).map_or("", |(_, name)| name)
    }

    /// The form of a body: what Content-Type names among `possible`, the first of those where it names nothing that
    /// says otherwise (`curl -d` says `application/x-www-form-urlencoded` of everything).
    pub(crate) fn of_body(headers: &HeaderMap, possible: &[Self]) -> Result<Self, Problem> {
        let first = possible.first().copied().unwrap_or(Self::Json);
        let Some(named) = headers.get(CONTENT_TYPE) else { return Ok(first) };
        let named = essence(named.as_bytes());
        if named.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(first);
        }
        let found = possible.iter().copied().find(|form| form.media_type().eq_ignore_ascii_case(named));
        found.ok_or_else(|| {
            let types: Vec<&str> = possible.iter().map(|form| form.media_type()).collect();
            Problem::new(
                Code::UnsupportedMediaType,
                format!("the Content-Type must be {}", types.join(" or ")),
            )
        })
    }

    /// The form of the answer: the first of `possible` that Accept names, otherwise the first at all.
    pub(crate) fn of_answer(headers: &HeaderMap, possible: &[Self]) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut named = accepted.flat_map(|value| value.split(',')).map(|part| essence(part.as_bytes()));
        let found = named.find_map(|name| {
            possible.iter().copied().find(|form| form.media_type().eq_ignore_ascii_case(name))
        });
        found.or_else(|| possible.first().copied()).unwrap_or(Self::Json)
    }
}

/// A media type without its parameters.
fn essence(value: &[u8]) -> &str {
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// A body's bytes split into its lines, without those that are blank; the numbers count from 1.
pub(crate) fn lines(body: &Bytes) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = body.split(|byte| *byte == b'\n').enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace))
}

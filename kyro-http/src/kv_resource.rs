//! `/v1/kv/{key}`: a value as a resource: raw bytes, its offset as the entity tag, conditions, ranges.

use std::mem;
use std::ops::Range;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use kyro_engine::Condition;

use crate::answer::{self, Answer, BYTES_VALUE, JSON_VALUE, OCTETS_VALUE};
use crate::app::App;
use crate::body::Body;
use crate::call::{Call, refuse_encoding};
use crate::cold;
use crate::decimal::{parse_u64, u64_len, write_u64};
use crate::fields::{FieldError, Query};
use crate::frame::{Op, Operation};
use crate::kv::not_found;
use crate::metrics::Stopwatch;
use crate::problem::{Code, Problem};
use crate::together::Single;
use crate::write::{commit_single, write};

/// `GET` and `HEAD`: answered on the connection's task; the value is not copied.
pub(crate) fn get(app: &App, key: Result<u64, FieldError>, head: &mut Parts) -> Answer {
    Query::parse(head.uri.query(), &[])?;
    let key = key?;
    let (offset, value) = app.engine()?.get_entry(key)?.ok_or_else(not_found)?;
    let tag = tag(offset);
    let conditions = Conditions::parse(&head.headers)?;
    if let Some(problem) = conditions.refuses_read(offset, &tag) {
        return Err(problem);
    }
    let range = if head.method == Method::GET { range(&head.headers, value.len(), &tag) } else { Ok(None) };
    let mut headers = mem::take(&mut head.headers);
    headers.clear();
    if conditions.none_match.is_some_and(|wanted| wanted.matches(offset)) {
        headers.insert(ETAG, tag);
        return Ok(response(StatusCode::NOT_MODIFIED, headers, Bytes::new()));
    }
    let length = value.len();
    let range = range.map_err(|()| Problem {
        header: HeaderValue::from_str(&format!("bytes */{length}"))
            .ok()
            .map(|value| Box::new((CONTENT_RANGE, value))),
        ..Problem::new(Code::RangeNotSatisfiable, format!("the value has {length} bytes"))
    })?;
    headers.insert(CONTENT_TYPE, OCTETS_VALUE.clone());
    headers.insert(ETAG, tag);
    headers.insert(ACCEPT_RANGES, BYTES_VALUE.clone());
    let Some(range) = range else { return Ok(response(StatusCode::OK, headers, value)) };
    let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(CONTENT_RANGE, text);
    }
    Ok(response(StatusCode::PARTIAL_CONTENT, headers, value.slice(range)))
}

/// `PUT`: 201 where the key had no value, 200 where it had one.
pub(crate) async fn put(call: Call) -> Answer {
    call.query(&[])?;
    let key = call.path_number("key")?;
    let expected = Conditions::parse(&call.head.headers)?.for_put()?;
    refuse_encoding(&call.head.headers)?;
    let Call { app, head, body, .. } = call;
    let headers = head.headers;
    let received = app.bodies.read(body).await?;
    let latency = Stopwatch::start(&app.metrics.append_latency);
    let engine = app.engine()?;
    let (created, offset) = if expected.is_some() {
        let operation = Operation { op: Op::Put { key, value: received.bytes.clone() }, expected };
        let committed = write(engine, &[operation]).await.map_err(precondition)?;
        (expected == Some(Condition::Absent), committed.first_offset)
    } else {
        cold::fetch(&app, key).await?;
        let created = !engine.contains(key)?;
        (created, commit_single(engine, Single::Put { key, value: &received.bytes }).await?)
    };
    latency.stop();
    Ok(written(headers, offset, if created { StatusCode::CREATED } else { StatusCode::OK }))
}

/// `DELETE`: 404 where there is nothing to delete.
pub(crate) async fn delete(call: Call) -> Answer {
    call.query(&[])?;
    let key = call.path_number("key")?;
    let expected = Conditions::parse(&call.head.headers)?.for_delete()?;
    let (_, head, app, _) = call.read_body().await?;
    let operation = Operation { op: Op::Delete { key }, expected: Some(expected) };
    let committed = write(app.engine()?, &[operation]).await.map_err(|problem| match expected {
        Condition::Present if problem.code == Code::PreconditionsFailed => not_found(),
        _ => precondition(problem),
    })?;
    Ok(written(head.headers, committed.first_offset, StatusCode::OK))
}

/// What a failed condition of a single write is to a client: 412, with the tag that the key has.
fn precondition(problem: Problem) -> Problem {
    if problem.code != Code::PreconditionsFailed {
        return problem;
    }
    Problem::new(Code::PreconditionFailed, "the key's value is not the one that the condition names")
}

/// The answer to a write. It takes the request's header map: its memory is there already.
fn written(mut headers: HeaderMap, offset: u64, status: StatusCode) -> Response<Body> {
    headers.clear();
    headers.insert(CONTENT_TYPE, JSON_VALUE.clone());
    headers.insert(ETAG, tag(offset));
    response(status, headers, answer::offset_document(offset))
}

fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The entity tag of a value: its offset in quotes.
fn tag(offset: u64) -> HeaderValue {
    // With exactly the room it needs the text becomes shared bytes as it is.
    let mut text = Vec::with_capacity(u64_len(offset) + 2);
    text.push(b'"');
    write_u64(&mut text, offset);
    text.push(b'"');
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from(offset))
}

/// Whether there is no header beside Host: what small clients send. One without Host (HTTP/1.0) may have another alone.
#[inline]
fn asks_for_nothing(headers: &HeaderMap) -> bool {
    headers.len() < 2 && headers.keys().next().is_none_or(|name| *name == HOST)
}

/// Which values a condition names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    /// The value with this offset; `None` names one that no value has.
    One(Option<u64>),
}

impl Wanted {
    fn matches(self, offset: u64) -> bool {
        self == Self::Any || self == Self::One(Some(offset))
    }
}

/// The conditions of a request.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    matches: Option<Wanted>,
    none_match: Option<Wanted>,
}

impl Conditions {
    fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        if asks_for_nothing(headers) {
            return Ok(Self::default());
        }
        Ok(Self {
            matches: wanted(headers, &IF_MATCH, "If-Match")?,
            none_match: wanted(headers, &IF_NONE_MATCH, "If-None-Match")?,
        })
    }

    fn refuses_read(self, offset: u64, tag: &HeaderValue) -> Option<Problem> {
        let wanted = self.matches?;
        (!wanted.matches(offset)).then(|| Problem {
            header: Some(Box::new((ETAG, tag.clone()))),
            ..Problem::new(Code::PreconditionFailed, "the value's tag is not the one that If-Match names")
        })
    }

    fn for_put(self) -> Result<Option<Condition>, Problem> {
        match (self.matches, self.none_match) {
            (None, None) => Ok(None),
            (Some(Wanted::Any), None) => Ok(Some(Condition::Present)),
            (Some(Wanted::One(offset)), None) => Ok(Some(Condition::Offset(offset.unwrap_or(u64::MAX)))),
            (None, Some(Wanted::Any)) => Ok(Some(Condition::Absent)),
            _ => Err(invalid("If-None-Match", "must be `*` for a write, and cannot stand beside If-Match")),
        }
    }

    fn for_delete(self) -> Result<Condition, Problem> {
        match self.for_put()? {
            Some(Condition::Absent) => Err(invalid("If-None-Match", "makes no sense for a DELETE")),
            expected => Ok(expected.unwrap_or(Condition::Present)),
        }
    }
}

fn invalid(header: &'static str, reason: &'static str) -> Problem {
    FieldError::invalid(header, reason).into()
}

/// One condition: `*`, or one entity tag. A weak tag, or one that no value can have, names no value.
fn wanted(headers: &HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<Wanted>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if values.next().is_some() || text.contains(',') {
        return Err(invalid(shown, "takes one entity tag or `*` here"));
    }
    if text == "*" {
        return Ok(Some(Wanted::Any));
    }
    let weak = text.starts_with("W/");
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner =
        inner.ok_or_else(|| invalid(shown, "must be an entity tag in quotes, as ETag has it, or `*`"))?;
    let canonical = |offset: &u64| !weak && offset.to_string() == inner;
    Ok(Some(Wanted::One(parse_u64(inner).ok().filter(canonical))))
}

/// The part of the value that is asked for; `Err` where the value has no such part. A header that is no single range
/// of bytes is ignored, as is one whose `If-Range` names another value.
fn range(headers: &HeaderMap, length: usize, tag: &HeaderValue) -> Result<Option<Range<usize>>, ()> {
    if asks_for_nothing(headers) {
        return Ok(None);
    }
    let Some(value) = headers.get(RANGE) else { return Ok(None) };
    if headers.get(IF_RANGE).is_some_and(|wanted| wanted != tag) {
        return Ok(None);
    }
    let text = value.to_str().unwrap_or_default();
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let number =
        |text: &str| parse_u64(text).ok().map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let range = match (first.is_empty(), last.is_empty(), number(first), number(last)) {
        (false, true, Some(first), _) => first..length,
        (false, false, Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (true, false, _, Some(suffix)) => length.saturating_sub(suffix)..length,
        _ => return Ok(None),
    };
    if range.start < range.end { Ok(Some(range)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn ranges_are_parts_of_the_value_or_nothing() {
        let of = |text: &str| range(&headers(&[("range", text)]), 10, &tag(1));
        for (text, expected) in [
            ("bytes=0-3", Ok(Some(0..4))),
            ("bytes=3-", Ok(Some(3..10))),
            ("bytes=9-9", Ok(Some(9..10))),
            ("bytes=5-99", Ok(Some(5..10))),
            ("bytes=-4", Ok(Some(6..10))),
            ("bytes=-99", Ok(Some(0..10))),
            ("bytes=0-18446744073709551615", Ok(Some(0..10))),
            ("bytes=10-", Err(())),
            ("bytes=10-11", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=4-3", Ok(None)),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=", Ok(None)),
            ("bytes=-", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("lines=0-1", Ok(None)),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        assert_eq!(
            range(&headers(&[("range", "bytes=-1")]), 0, &tag(1)),
            Err(()),
            "an empty value has no part"
        );
        assert_eq!(range(&headers(&[("range", "bytes=0-1"), ("if-range", "\"2\"")]), 10, &tag(1)), Ok(None));
        assert_eq!(
            range(&headers(&[("range", "bytes=0-1"), ("if-range", "\"1\"")]), 10, &tag(1)),
            Ok(Some(0..2))
        );
    }

    #[test]
    fn a_condition_that_stands_alone_counts() {
        let conditions = |pairs| Conditions::parse(&headers(pairs)).ok().unwrap();
        for none in [&[][..], &[("host", "localhost")]] {
            assert_eq!((conditions(none).matches, conditions(none).none_match), (None, None));
        }
        assert_eq!(conditions(&[("if-match", "\"7\"")]).matches, Some(Wanted::One(Some(7))));
        assert_eq!(conditions(&[("if-none-match", "*")]).none_match, Some(Wanted::Any));
    }

    #[test]
    fn conditions_name_values_exactly() {
        let of = |value: &str| wanted(&headers(&[("if-match", value)]), &IF_MATCH, "If-Match").ok().flatten();
        assert_eq!(of("*"), Some(Wanted::Any));
        assert_eq!(of("\"7\""), Some(Wanted::One(Some(7))));
        for never in ["W/\"7\"", "\"07\"", "\"\"", "\"x\"", "\"99999999999999999999\""] {
            assert_eq!(of(never), Some(Wanted::One(None)), "{never}");
        }
        for wrong in ["7", "\"7", "\"7\", \"8\""] {
            assert!(wanted(&headers(&[("if-match", wrong)]), &IF_MATCH, "If-Match").is_err(), "{wrong}");
        }
    }
}

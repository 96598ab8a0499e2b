//! Small answers: JSON, raw bytes, empty ones.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::decimal::{u64_len, write_u64};
use crate::problem::Problem;

/// The media type of raw bytes.
pub(crate) const OCTETS: &str = "application/octet-stream";

/// Values of headers that the fast routes send: made once. To make one looks at each of its bytes.
pub(crate) static OCTETS_VALUE: HeaderValue = HeaderValue::from_static(OCTETS);
pub(crate) static JSON_VALUE: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) static BYTES_VALUE: HeaderValue = HeaderValue::from_static("bytes");

/// What a handler gives.
pub(crate) type Answer = Result<Response<Body>, Problem>;

pub(crate) fn with_type(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// JSON that is already text: members stay in the order in which they are documented.
pub(crate) fn json(text: impl Into<Bytes>) -> Response<Body> {
    with_type("application/json", text)
}

/// The answer to a write, and to the question for the next offset.
pub(crate) fn offset(offset: u64) -> Response<Body> {
    let mut response = Response::new(Body::from(offset_document(offset)));
    response.headers_mut().insert(CONTENT_TYPE, JSON_VALUE.clone());
    response
}

/// `{"offset":7}`
pub(crate) fn offset_document(offset: u64) -> Bytes {
    // With exactly the room it needs the text becomes shared bytes as it is.
    let mut text = Vec::with_capacity(u64_len(offset) + 11);
    text.extend_from_slice(b"{\"offset\":");
    write_u64(&mut text, offset);
    text.push(b'}');
    Bytes::from(text)
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

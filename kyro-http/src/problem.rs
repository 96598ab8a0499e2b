//! Every error a client can see: one table of code, status and title, and its `application/problem+json` form.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::body::Body;

macro_rules! codes {
    ($($variant:ident $status:literal $code:literal $title:literal,)+) => {
        /// A stable error code. The table here is the whole list; docs/http.md repeats it and a test compares them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $(#[doc = $title] $variant,)+ }

        impl Code {
            /// Every code, in the order of the table.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// HTTP status, code and title.
            pub(crate) const fn parts(self) -> (u16, &'static str, &'static str) {
                match self { $(Self::$variant => ($status, $code, $title),)+ }
            }
        }
    };
}

codes! {
    BadRequest          400 "bad_request"          "Bad request",
    EmptyBody           400 "empty_body"           "Empty body",
    InvalidJson         400 "invalid_json"         "Invalid JSON",
    MissingField        400 "missing_field"        "Missing field",
    InvalidField        400 "invalid_field"        "Invalid field",
    InvalidFrame        400 "invalid_frame"        "Invalid frame",
    InvalidRecord       400 "invalid_record"       "Invalid record",
    DuplicateField      400 "duplicate_field"      "Duplicate field",
    UnknownField        400 "unknown_field"        "Unknown field",
    Unauthorized        401 "unauthorized"         "Unauthorized",
    Forbidden           403 "forbidden"            "Forbidden",
    BackupsOff          403 "backups_off"          "Backups off",
    PushesOff           403 "pushes_off"           "Pushes off",
    HostNotAllowed      403 "host_not_allowed"     "Host not allowed",
    NotFound            404 "not_found"            "Not found",
    UnknownTask         404 "unknown_task"         "Unknown task",
    UnknownDataSet      404 "unknown_data_set"     "Unknown data set",
    UnknownVersion      404 "unknown_version"      "Unknown version",
    UnknownPath         404 "unknown_path"         "Unknown path",
    MethodNotAllowed    405 "method_not_allowed"   "Method not allowed",
    BodyTimeout         408 "body_timeout"         "Body timeout",
    PreconditionsFailed 409 "preconditions_failed" "Preconditions failed",
    Cancelled           409 "cancelled"            "Cancelled",
    NotCancellable      409 "not_cancellable"      "Not cancellable",
    BackupExists        409 "backup_exists"        "Backup exists",
    CurrentVersion      409 "current_version"      "Current version",
    UnusableDataSet     409 "unusable_data_set"    "Unusable data set",
    AlreadyRunning      409 "already_running"      "Already running",
    HistoryGone         410 "history_gone"         "History gone",
    PreconditionFailed  412 "precondition_failed"  "Precondition failed",
    BodyTooLarge        413 "body_too_large"       "Body too large",
    ValueTooLarge       413 "value_too_large"      "Value too large",
    BatchTooLarge       413 "batch_too_large"      "Batch too large",
    TargetTooLong       414 "target_too_long"      "Target too long",
    UnsupportedMediaType 415 "unsupported_media_type" "Unsupported media type",
    RangeNotSatisfiable 416 "range_not_satisfiable" "Range not satisfiable",
    RateLimited         429 "rate_limited"         "Rate limited",
    TooManyHeaders      431 "too_many_headers"     "Too many headers",
    Internal            500 "internal"             "Internal error",
    DataCorruption      500 "data_corruption"      "Data corruption",
    NotReady            503 "not_ready"            "Not ready",
    Draining            503 "draining"             "Draining",
    Overloaded          503 "overloaded"           "Overloaded",
    TooManyStreams      503 "too_many_streams"     "Too many streams",
    ReadOnly            503 "read_only"            "Read only",
    CommitUnknown       503 "commit_unknown"       "Commit unknown",
    InsufficientStorage 507 "insufficient_storage" "Insufficient storage",
}

/// A member of one kind of error's document.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// Its JSON.
    pub(crate) value: Box<RawValue>,
}

/// One error answer: what happened, in which field, and what the client may do next.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    /// One sentence for a person. Never holds a value, a token or a path of the server's own choosing.
    pub(crate) detail: Cow<'static, str>,
    /// The field of the body, query or path at fault.
    pub(crate) field: Option<Cow<'static, str>>,
    /// The oldest offset that is still retained (`history_gone`).
    pub(crate) oldest: Option<u64>,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after_seconds: Option<u32>,
    /// The methods that the path has (`method_not_allowed`).
    pub(crate) allow: Option<&'static str>,
    /// A further member of the document. Boxed, like the header: few errors have one, and every result carries room for it.
    pub(crate) more: Option<Box<Member>>,
    /// A header that goes with this error.
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            oldest: None,
            retry_after_seconds: None,
            allow: None,
            more: None,
            header: None,
        }
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.parts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The RFC 9457 document, with the seed's `error` member beside it.
    pub(crate) fn to_json(&self, request_id: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'a str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            request_id: &'a str,
            error: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            oldest: Option<u64>,
        }
        let (status, code, title) = self.code.parts();
        let document = Document {
            r#type: &format!("urn:kyrodb:error:{code}"),
            title,
            status,
            detail: &self.detail,
            code,
            request_id,
            error: &title.to_ascii_lowercase(),
            field: self.field.as_deref(),
            oldest: self.oldest,
        };
        let mut text = serde_json::to_vec(&document).unwrap_or_default();
        if let (Some(member), Some(b'}')) = (&self.more, text.last()) {
            text.pop();
            let Member { name, value } = &**member;
            text.extend_from_slice(format!(",\"{name}\":{value}}}").as_bytes());
        }
        text
    }

    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::from(self.to_json(request_id))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Ok(request_id) = HeaderValue::from_str(request_id) {
            headers.insert(HeaderName::from_static("x-request-id"), request_id);
        }
        if let Some(header) = self.header {
            headers.insert(header.0, header.1);
        }
        if self.code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kyrodb\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_its_own_name() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.parts().1).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let problem = Problem::new(*code, "x");
            assert_eq!(problem.status().as_u16(), code.parts().0, "{code:?}");
            assert!(problem.status().is_client_error() || problem.status().is_server_error(), "{code:?}");
        }
    }

    #[test]
    fn the_documentation_lists_every_code_with_its_status() {
        let docs = include_str!("../../docs/http.md");
        for code in Code::ALL {
            let (status, name, _) = code.parts();
            assert!(docs.contains(&format!("| {status} | `{name}` |")), "docs/http.md lacks {status} {name}");
        }
    }
}

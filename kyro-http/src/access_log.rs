//! The access log: one line for each request of the routes that it covers. No line ever holds a key, a query, a header
//! or a body: the route's pattern stands for the path.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use hyper::{Method, StatusCode};

use crate::route::{Access, Route};

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLog {
    /// None
    Off,
    /// Work on the whole database
    Admin,
    /// Every request
    All,
}

impl AccessLog {
    /// Whether requests of this route are logged; unknown paths count as data.
    pub(crate) fn covers(self, route: Option<Route>) -> bool {
        match self {
            Self::Off => false,
            Self::Admin => route.is_some_and(|route| route.access(&Method::POST) == Access::Admin),
            Self::All => true,
        }
    }
}

/// One request.
pub(crate) struct Line<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) client: IpAddr,
    pub(crate) method: &'a Method,
    pub(crate) route: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) took: Duration,
}

/// Writes one line.
pub(crate) fn write(line: &Line<'_>) {
    // A method of the client's own invention is its text: only known ones are repeated.
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
    let method = if known.contains(line.method) { line.method.as_str() } else { "other" };
    tracing::info!(
        request_id = line.request_id,
        client = %line.client,
        method,
        route = line.route,
        status = line.status.as_u16(),
        seconds = line.took.as_secs_f64(),
        "request"
    );
}

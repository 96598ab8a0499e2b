//! One request: limits, route, access, handler, and the count of what came of it.
//!
//! Reads of one key are answered on the connection's own task, without a future of their own, and their answers take
//! the header map of their requests: such a request allocates nothing here. Everything that waits (a body, a commit,
//! a thread) becomes one boxed future, as large as its own handler needs and no larger.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};

use crate::access_log;
use crate::answer::Answer;
use crate::app::App;
use crate::body::Body;
use crate::call::Call;
use crate::cold;
use crate::connection::Connection;
use crate::decimal::parse_u64;
use crate::dispatch::{answer_later, answer_now};
use crate::host_check::names_loopback;
use crate::problem::{Code, Problem};
use crate::rate_limit::{Class, Client};
use crate::route::{Access, Route};
use crate::tokens::Refusal;

/// Longest request target (path and query) in bytes.
const TARGET_BYTES_MAX: usize = 8 << 10;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Longest head of a request in bytes; hyper refuses what is longer.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// Of reads of one key, one in so many is timed.
const SAMPLE: u32 = 16;

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Service(pub(crate) Arc<Connection>);

/// An answer, now or later.
pub(crate) enum Reply {
    Now(Option<Response<Body>>),
    Later(Later),
}

/// A request whose handler waits for something.
pub(crate) struct Later {
    answering: Pin<Box<dyn Future<Output = Answer> + Send>>,
    exchange: Exchange,
    connection: Arc<Connection>,
}

impl Later {
    fn new(
        connection: &Arc<Connection>,
        exchange: Exchange,
        answering: Pin<Box<dyn Future<Output = Answer> + Send>>,
    ) -> Self {
        connection.app.metrics.in_flight.add();
        Self { answering, exchange, connection: Arc::clone(connection) }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.connection.app.metrics.in_flight.subtract();
    }
}

impl Future for Reply {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(response) => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            Self::Later(later) => {
                let answer = ready!(later.answering.as_mut().poll(context));
                Poll::Ready(Ok(later.exchange.finish(&later.connection, answer)))
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, request: Request<Incoming>) -> Reply {
        let connection = &self.0;
        connection.watch.request_begins();
        let (mut head, body) = request.into_parts();
        let mut exchange = Exchange::default();
        let route = match exchange.admit(connection, &head) {
            Ok(route) => route,
            Err(problem) => return Reply::Now(Some(exchange.finish(connection, Err(problem)))),
        };
        let key = exchange.key;
        let lookup = match exchange.timed {
            Some((_, SAMPLE)) => Some(Instant::now()),
            // Each is timed, as for the access log; of the reads still only some are looked at.
            Some(_) if route.reads_one_key(&head.method) && connection.is_sampled(SAMPLE) => {
                Some(Instant::now())
            }
            _ => None,
        };
        if let Some(answer) = answer_now(&connection.app, route, key, &mut head) {
            if let Some(start) = lookup {
                cold::look();
                count_lookup(&connection.app, start, key);
            }
            return Reply::Now(Some(exchange.finish(connection, answer)));
        }
        let client = exchange.forwarded.as_ref().map_or(&connection.client, |(_, client)| client);
        let call = Call { app: Arc::clone(&connection.app), client: Arc::clone(client), head, body };
        Reply::Later(Later::new(connection, exchange, answer_later(route, call)))
    }
}

/// A request on its way to its answer: what is needed to count and to log it.
#[derive(Default)]
struct Exchange {
    route: Option<Route>,
    /// The number that stands in its path, where there is one.
    key: Option<u64>,
    /// When it came, and for how many requests it stands, where it is timed.
    timed: Option<(Instant, u32)>,
    /// Its method, where the access log asks for it.
    logged: Option<Method>,
    /// The client behind a trusted proxy, where there is one.
    forwarded: Option<(IpAddr, Arc<Client>)>,
}

impl Exchange {
    /// Checks everything that can be checked before the request is looked into.
    fn admit(&mut self, connection: &Connection, head: &Parts) -> Result<Route, Problem> {
        let app = &connection.app;
        if let Some((route, argument)) = Route::find(head.uri.path()) {
            self.route = Some(route);
            self.key = if argument.is_empty() { None } else { parse_u64(argument).ok() };
        }
        let logged = app.access.log.covers(self.route);
        let sample = if logged { 1 } else { self.route.map_or(1, sample) };
        if sample == 1 || connection.is_sampled(sample) {
            self.timed = Some((Instant::now(), sample));
        }
        if logged {
            self.logged = Some(head.method.clone());
        }
        within_limits(head)?;
        if app.access.proxies.trusts(connection.peer)
            && let Some(address) = app.access.proxies.client(&head.headers)
        {
            self.forwarded = Some((address, app.rates.client(address)));
        }
        if app.access.check_host && !names_loopback(&head.headers, head.uri.host()) {
            return Err(Problem::new(
                Code::HostNotAllowed,
                "without a token only requests whose Host is localhost or a loopback address are answered",
            ));
        }
        // A path that does not exist asks for a token like any other: nothing is told to strangers.
        let access = self.route.map_or(Access::Read, |route| route.access(&head.method));
        if let Err(refusal) = app.access.tokens.check(&head.headers, access, app.access.protect_metrics) {
            if refusal == Refusal::Unauthorized {
                self.take(connection, Class::AuthFailure)?;
            }
            return Err(refused(refusal));
        }
        let route = self.route.ok_or_else(|| Problem::new(Code::UnknownPath, "there is no such path"))?;
        if !route.allows(&head.method) {
            let detail = format!("{} answers {}", route.path(), route.allow());
            return Err(Problem {
                allow: Some(route.allow()),
                ..Problem::new(Code::MethodNotAllowed, detail)
            });
        }
        match access {
            Access::Open | Access::Telemetry => {}
            Access::Read | Access::Write => self.take(connection, Class::Data)?,
            Access::Admin => self.take(connection, Class::Admin)?,
        }
        Ok(route)
    }

    fn take(&self, connection: &Connection, class: Class) -> Result<(), Problem> {
        let client = self.forwarded.as_ref().map_or(&connection.client, |(_, client)| client);
        charge(&connection.app, client, class, 1)
    }

    /// Turns the handler's result into a response, counts it and tells the connection's watch.
    fn finish(&self, connection: &Arc<Connection>, answer: Answer) -> Response<Body> {
        let app = &connection.app;
        let mut request_id = None;
        let mut response = answer.unwrap_or_else(|problem| {
            let id = request_id.insert(app.request_id());
            let (status, code, _) = problem.code.parts();
            let route = self.route.map_or(crate::metrics::UNKNOWN, Route::path);
            if status >= 500 {
                tracing::warn!(request_id = %id, status, code, route, detail = %problem.detail, "request failed");
            } else {
                tracing::debug!(request_id = %id, status, code, route, "request refused");
            }
            problem.into_response(id)
        });
        let took = self.timed.map(|(at, weight)| (at.elapsed(), u64::from(weight)));
        app.metrics.request(self.route, response.status(), took);
        if let (Some(method), Some((took, _))) = (&self.logged, took) {
            access_log::write(&access_log::Line {
                request_id: &request_id.unwrap_or_else(|| app.request_id()),
                client: self.forwarded.as_ref().map_or(connection.peer, |(address, _)| *address),
                method,
                route: self.route.map_or(crate::metrics::UNKNOWN, Route::path),
                status: response.status(),
                took,
            });
        }
        response.body_mut().watched_by(connection);
        response
    }
}

/// Counts a read of one key that stands for [`SAMPLE`] of them.
fn count_lookup(app: &App, start: Instant, key: Option<u64>) {
    let lookups = &app.metrics.lookups;
    lookups.latency.observe_weighted(start.elapsed(), SAMPLE.into());
    if let (Ok(engine), Some(key)) = (app.engine(), key) {
        lookups.probe_len.observe_number(engine.window_len(key) as u64, SAMPLE.into());
    }
}

/// Takes from a client's bucket what a request of so many keys costs, beyond the one that every request costs.
pub(crate) fn charge_keys(app: &App, client: &Client, keys: usize) -> Result<(), Problem> {
    if keys < 2 { Ok(()) } else { charge(app, client, Class::Data, keys as u64 - 1) }
}

/// Takes so many tokens of a class from a client's bucket.
fn charge(app: &App, client: &Client, class: Class, tokens: u64) -> Result<(), Problem> {
    app.rates.take(client, class, tokens).map_err(|wait| {
        let detail = format!("this address sends too many requests of the class {}", class.name());
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        Problem::new(Code::RateLimited, detail).retry_after(seconds)
    })
}

fn within_limits(head: &Parts) -> Result<(), Problem> {
    let target_bytes = head.uri.path().len() + head.uri.query().map_or(0, |query| query.len() + 1);
    if target_bytes > TARGET_BYTES_MAX {
        return Err(Problem::new(
            Code::TargetTooLong,
            format!("the request target is {target_bytes} bytes, the limit is {TARGET_BYTES_MAX}"),
        ));
    }
    if head.headers.len() > HEADERS_MAX {
        return Err(Problem::new(
            Code::TooManyHeaders,
            format!("there are {} header lines, the limit is {HEADERS_MAX}", head.headers.len()),
        ));
    }
    Ok(())
}

/// Of how many requests of a route one is timed: a clock is read twice for it.
fn sample(route: Route) -> u32 {
    match route {
        Route::GetFast | Route::LookupFast | Route::Kv => SAMPLE,
        _ => 1,
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unauthorized => {
            Problem::new(Code::Unauthorized, "a valid token is needed: Authorization: Bearer TOKEN")
        }
        Refusal::Forbidden(needed) => {
            Problem::new(Code::Forbidden, format!("this takes a token that may {}", needed.verb()))
        }
    }
}

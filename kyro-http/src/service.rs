//! One request: limits, route, access, handler, and the count of what came of it.
//!
//! Reads of one key are answered on the connection's own task, without a future of their own: the engine's `get` is
//! a few memory accesses. Everything that waits (a body, a commit, a thread) becomes a boxed future.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response};

use crate::admin;
use crate::answer::Answer;
use crate::app::App;
use crate::body::Body;
use crate::connection_watch::ConnectionWatch;
use crate::host_check::names_loopback;
use crate::kv;
use crate::problem::{Code, Problem};
use crate::rate_limit::{Class, Client};
use crate::replay;
use crate::route::{Access, Route};
use crate::subscribe;
use crate::tokens::Refusal;

/// Longest request target (path and query) in bytes.
const TARGET_BYTES_MAX: usize = 8 << 10;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Longest head of a request in bytes; hyper refuses what is longer.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) app: Arc<App>,
    pub(crate) watch: Arc<ConnectionWatch>,
    pub(crate) client: Arc<Client>,
}

/// An answer, now or later.
pub(crate) enum Reply {
    Now(Option<Response<Body>>),
    Later(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl Future for Reply {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(response) => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            Self::Later(future) => future.as_mut().poll(context).map(Ok),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, request: Request<Incoming>) -> Reply {
        let received = Received { service: self.clone(), at: Instant::now(), route: None };
        self.watch.request_begins();
        let (head, body) = request.into_parts();
        received.answer(head, body)
    }
}

/// A request on its way to its answer.
struct Received {
    service: Service,
    at: Instant,
    route: Option<Route>,
}

impl Received {
    fn answer(mut self, head: Parts, body: Incoming) -> Reply {
        let (route, key) = match self.admit(&head) {
            Ok(admitted) => admitted,
            Err(problem) => return Reply::Now(Some(self.finish(Err(problem)))),
        };
        let app = &self.service.app;
        let query = head.uri.query();
        let now = match route {
            Route::GetFast => kv::get_fast(app, key, query),
            Route::LookupFast => kv::lookup_fast(app, key, query),
            Route::Lookup => kv::lookup(app, query),
            Route::LookupRaw => kv::lookup_raw(app, query),
            Route::Offset => kv::next_offset(app, query),
            Route::Health => admin::health(app, query),
            Route::Livez => admin::livez(query),
            Route::Readyz => admin::readyz(app, query),
            Route::Metrics => admin::metrics(app, query),
            Route::BuildInfo => admin::build_info(query),
            Route::Put
            | Route::Append
            | Route::Replay
            | Route::Subscribe
            | Route::RmiBuild
            | Route::Warmup
            | Route::Snapshot
            | Route::Compact => return Reply::Later(Box::pin(self.answer_later(route, head, body))),
        };
        Reply::Now(Some(self.finish(now)))
    }

    async fn answer_later(self, route: Route, head: Parts, body: Incoming) -> Response<Body> {
        let app = Arc::clone(&self.service.app);
        let query = head.uri.query().map(str::to_owned);
        let answer = {
            let _in_flight = self.service.app.metrics.in_flight.hold();
            match route {
                Route::Put => kv::put(app, query, body).await,
                Route::Append => kv::append(app, query, body).await,
                Route::Replay if head.method == hyper::Method::POST => {
                    replay::post(app, head.headers, query, body).await
                }
                Route::Replay => replay::get(app, head.headers, query).await,
                Route::Subscribe => subscribe::get(app, head.headers, query).await,
                Route::RmiBuild => admin::build_index(app, query).await,
                Route::Warmup => admin::warm_up(app, query).await,
                Route::Snapshot => admin::snapshot(app, query).await,
                Route::Compact => admin::compact(app, query).await,
                _ => Err(unknown_path()),
            }
        };
        self.finish(answer)
    }

    /// Checks everything that can be checked before the request is looked into.
    fn admit<'a>(&mut self, head: &'a Parts) -> Result<(Route, &'a str), Problem> {
        let app = &self.service.app;
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
        if app.access.check_host && !names_loopback(&head.headers, head.uri.host()) {
            return Err(Problem::new(
                Code::HostNotAllowed,
                "without a token only requests whose Host is localhost or a loopback address are answered",
            ));
        }
        let found = Route::find(head.uri.path());
        self.route = found.map(|(route, _)| route);
        // A path that does not exist asks for a token like any other: nothing is told to strangers.
        let access = self.route.map_or(Access::Read, Route::access);
        if let Err(refusal) = app.access.tokens.check(&head.headers, access, app.access.protect_metrics) {
            if refusal == Refusal::Unauthorized {
                self.take(Class::AuthFailure)?;
            }
            return Err(refused(refusal));
        }
        let (route, key) = found.ok_or_else(unknown_path)?;
        if !route.allows(&head.method) {
            let detail = format!("{} answers {}", route.path(), route.allow());
            return Err(Problem {
                allow: Some(route.allow()),
                ..Problem::new(Code::MethodNotAllowed, detail)
            });
        }
        match access {
            Access::Open | Access::Telemetry => {}
            Access::Read | Access::Write => self.take(Class::Data)?,
            Access::Admin => self.take(Class::Admin)?,
        }
        Ok((route, key))
    }

    fn take(&self, class: Class) -> Result<(), Problem> {
        self.service.app.rates.take(&self.service.client, class, self.at).map_err(|wait| {
            let detail = format!("this address sends too many requests of the class {}", class.name());
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            Problem::new(Code::RateLimited, detail).retry_after(seconds)
        })
    }

    /// Turns the handler's result into a response, counts it and tells the connection's watch.
    fn finish(&self, answer: Answer) -> Response<Body> {
        let app = &self.service.app;
        let mut response = answer.unwrap_or_else(|problem| {
            let request_id = app.request_id();
            let (status, code, _) = problem.code.parts();
            let route = self.route.map_or(crate::metrics::UNKNOWN, Route::path);
            if status >= 500 {
                tracing::warn!(request_id, status, code, route, detail = %problem.detail, "request failed");
            } else {
                tracing::debug!(request_id, status, code, route, "request refused");
            }
            problem.into_response(&request_id)
        });
        app.metrics.request(self.route, response.status(), self.at.elapsed());
        response.body_mut().watched_by(&self.service.watch);
        response
    }
}

fn unknown_path() -> Problem {
    Problem::new(Code::UnknownPath, "there is no such path")
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unauthorized => {
            Problem::new(Code::Unauthorized, "a valid token is needed: Authorization: Bearer TOKEN")
        }
        Refusal::Forbidden => Problem::new(Code::Forbidden, "this token may only read"),
    }
}

//! One connection: hyper's HTTP/1.1, and the orders that reach it from outside.
//!
//! Its task polls hyper alone. Deadlines, drain and cut come from the [registry](crate::connections), which leaves an
//! order in one word and wakes the task: a request costs no timer and no shared lock.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;

use crate::app::App;
use crate::connection_watch::{ConnectionWatch, Overdue};
use crate::rate_limit::Client;
use crate::service::{HEAD_BYTES_MAX, Service};
use crate::socket::Socket;

/// What hyper may buffer of one connection, each way.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What a connection is told from outside; a later one never gives way to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Finish the request under way, then close.
    Drain = 1,
    /// Close now.
    Cut = 2,
}

/// What the parts of one connection share.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) app: Arc<App>,
    pub(crate) watch: ConnectionWatch,
    /// The address that the socket comes from.
    pub(crate) peer: IpAddr,
    /// The buckets of that address.
    pub(crate) client: Arc<Client>,
    order: AtomicU8,
    /// What is overdue as seen from outside, as bits; 0 where nothing is.
    overdue: AtomicU64,
    task: OnceLock<Waker>,
    /// Requests so far, to pick samples; written by the connection's task alone.
    requests: AtomicU32,
}

impl Connection {
    pub(crate) fn new(app: Arc<App>, peer: IpAddr, client: Arc<Client>) -> Self {
        let watch = ConnectionWatch::new(app.millis());
        Self {
            app,
            watch,
            peer,
            client,
            order: AtomicU8::new(0),
            overdue: AtomicU64::new(0),
            task: OnceLock::new(),
            requests: AtomicU32::new(0),
        }
    }

    /// True once in `every` calls.
    pub(crate) fn is_sampled(&self, every: u32) -> bool {
        let requests = self.requests.load(Ordering::Relaxed);
        self.requests.store(requests.wrapping_add(1), Ordering::Relaxed);
        requests.is_multiple_of(every)
    }

    /// Leaves an order and wakes the connection's task to find it.
    pub(crate) fn order(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8
            && let Some(task) = self.task.get()
        {
            task.wake_by_ref();
        }
    }
}

impl Connection {
    /// Has the connection's task cut it, unless the task finds that the client has moved: where the machine is busy
    /// the task may not have run since, and what came in time still lies in the socket.
    pub(crate) fn cut_if_silent(&self, overdue: Overdue) {
        self.overdue.store(overdue.to_bits(), Ordering::Release);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    fn take_overdue(&self) -> Option<Overdue> {
        if self.overdue.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Overdue::from_bits(self.overdue.swap(0, Ordering::AcqRel))
    }
}

/// Ready when the runtime has heard from the system what came in on its sockets. Whoever ends a connection for what its
/// client did not do waits for that: what the client did may lie in the socket.
struct Hearing(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Hearing {
    fn begin() -> Self {
        Self(Box::pin(tokio::task::yield_now()))
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.0.as_mut().poll(context).is_ready()
    }
}

/// How far a connection is with finishing.
enum Drain {
    No,
    Hearing(Hearing),
    Begun,
}

/// How connections are served; one for the whole server.
pub(crate) fn protocol() -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        // The watch keeps the time for heads: hyper's own timer costs an allocation for each request.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    protocol
}

/// Serves one connection to its end.
pub(crate) async fn serve(connection: Arc<Connection>, protocol: &http1::Builder, socket: TcpStream) {
    let _open = connection.app.metrics.connections.hold();
    let (socket, output) = Socket::new(socket, Arc::clone(&connection));
    let service = Service(Arc::clone(&connection));
    let mut exchange = pin!(protocol.serve_connection(socket, service));
    let mut drain = Drain::No;
    let mut doubt: Option<(Overdue, Hearing)> = None;
    let ended = poll_fn(|context| {
        // A task keeps its waker for life. It is there before the order is looked at, so that no order is missed.
        connection.task.get_or_init(|| context.waker().clone());
        match connection.order.load(Ordering::Acquire) {
            0 => {}
            order if order == Order::Cut as u8 => return Poll::Ready(Ok(())),
            _ if matches!(drain, Drain::No) => drain = Drain::Hearing(Hearing::begin()),
            _ => {}
        }
        if let Some(overdue) = connection.take_overdue() {
            doubt.get_or_insert_with(|| (overdue, Hearing::begin()));
        }
        let doubt_is_over = doubt.as_mut().is_some_and(|(_, hearing)| hearing.is_over(context));
        let drain_now = match &mut drain {
            Drain::Hearing(hearing) => hearing.is_over(context),
            Drain::No | Drain::Begun => false,
        };
        let mut ended = exchange.as_mut().poll(context);
        if drain_now && ended.is_pending() {
            // A request that came before the order has been taken up by now.
            drain = Drain::Begun;
            exchange.as_mut().graceful_shutdown();
            ended = exchange.as_mut().poll(context);
        }
        let sent = output.poll_end_of_turn(context);
        if doubt_is_over
            && let Some((overdue, _)) = doubt.take()
            && connection.watch.is_still(overdue)
        {
            connection.app.metrics.cut(overdue.reason);
            tracing::debug!(reason = overdue.reason.name(), "a connection was cut");
            return Poll::Ready(Ok(()));
        }
        match sent {
            Poll::Ready(Err(error)) => {
                tracing::debug!(error = %error, "a connection ended while answers were sent");
                Poll::Ready(Ok(()))
            }
            _ => ended,
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(error = kyro_engine::describe(&error), "a connection ended");
    }
}

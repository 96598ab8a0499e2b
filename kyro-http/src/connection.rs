//! One connection: hyper's HTTP/1.1, and the orders that reach it from outside.
//!
//! Its task polls hyper alone. Deadlines, drain and cut come from the [registry](crate::connections), which leaves an
//! order in one word and wakes the task: a request costs no timer and no shared lock.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;

use crate::app::App;
use crate::connection_watch::ConnectionWatch;
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
    task: OnceLock<Waker>,
    /// Requests so far, to pick samples; written by the connection's task alone.
    requests: AtomicU32,
    /// Requests in this turn of the task.
    in_turn: AtomicU32,
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
            task: OnceLock::new(),
            requests: AtomicU32::new(0),
            in_turn: AtomicU32::new(0),
        }
    }

    /// A request's head is complete.
    pub(crate) fn request_begins(&self) {
        self.watch.request_begins();
        self.in_turn.store(self.in_turn.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Whether this turn of the task has met more than one request.
    pub(crate) fn is_pipelined(&self) -> bool {
        self.in_turn.load(Ordering::Relaxed) > 1
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
    let mut draining = false;
    let ended = poll_fn(|context| {
        // A task keeps its waker for life. It is there before the order is looked at, so that no order is missed.
        connection.task.get_or_init(|| context.waker().clone());
        match connection.order.load(Ordering::Acquire) {
            0 => {}
            order if order == Order::Cut as u8 => return Poll::Ready(Ok(())),
            _ if !draining => {
                draining = true;
                exchange.as_mut().graceful_shutdown();
            }
            _ => {}
        }
        connection.in_turn.store(0, Ordering::Relaxed);
        let ended = exchange.as_mut().poll(context);
        match output.poll_end_of_turn(context) {
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

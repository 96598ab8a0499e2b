//! One connection: hyper's HTTP/1.1, with deadlines, and an end when the server stops.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::app::{App, Life, reach};
use crate::connection_watch::{ConnectionWatch, Overdue, WatchedSocket};
use crate::service::{HEAD_BYTES_MAX, Service};

/// What hyper may buffer of one connection, each way.
const BUFFER_BYTES_MAX: usize = 64 << 10;

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
pub(crate) async fn serve(app: Arc<App>, protocol: http1::Builder, socket: TcpStream, peer: SocketAddr) {
    let _open = app.metrics.connections.hold();
    let watch = Arc::new(ConnectionWatch::default());
    let client = app.rates.client(peer.ip());
    let service = Service { app: Arc::clone(&app), watch: Arc::clone(&watch), client };
    let mut overdue = Overdue::new(Arc::clone(&watch), app.limits.deadlines);
    let mut life = app.watch_life();
    let socket = WatchedSocket { socket: TokioIo::new(socket), watch };
    let mut connection = pin!(protocol.serve_connection(socket, service));
    let mut tick = interval(app.limits.deadlines.tick());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Life::Draining;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = kyro_engine::describe(&error), "a connection ended");
                }
                return;
            }
            _ = tick.tick() => {
                if let Some(reason) = overdue.reason(Instant::now()) {
                    app.metrics.cut(reason);
                    tracing::debug!(reason = reason.name(), "a connection was cut");
                    return;
                }
            }
            () = reach(&mut life, next) => {
                if next == Life::Cut {
                    return;
                }
                next = Life::Cut;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

//! The threads that serve connections: each with a runtime of its own, so that a request never changes threads.
//!
//! One thread accepts and gives every connection to the worker that has the fewest, which the kernel's own
//! distribution over sockets that share a port does not promise.

use std::io;
use std::net::{IpAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::app::App;
use crate::connection::{self, Connection};
use crate::connections::Registered;
use crate::rate_limit::{Client, ConnectionPlace};
use crate::together::Turn;
use crate::wake_relay::WakeRelay;

/// Threads beside the event loops, for work that blocks; each worker has its own.
const BLOCKING_THREADS: usize = 64;

/// A connection on its way to its worker.
pub(crate) struct Accepted {
    pub(crate) socket: StdStream,
    pub(crate) peer: IpAddr,
    pub(crate) client: Arc<Client>,
    /// Its place among all connections.
    pub(crate) place: OwnedSemaphorePermit,
    /// Its place among its client's connections.
    pub(crate) client_place: ConnectionPlace,
}

/// The workers of one server.
pub(crate) struct Workers {
    workers: Vec<Worker>,
}

struct Worker {
    connections: UnboundedSender<Accepted>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts so many threads.
    pub(crate) fn start(app: &Arc<App>, count: usize) -> io::Result<Self> {
        let start = |number: usize| {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(BLOCKING_THREADS)
                .thread_name("kyro-http-blocking")
                .build()?;
            let (connections, accepted) = unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            let (app, counter) = (Arc::clone(app), Arc::clone(&open));
            let thread = std::thread::Builder::new()
                .name(format!("kyro-http-{number}"))
                .spawn(move || run(runtime, &app, accepted, &counter))?;
            Ok(Worker { connections, open, thread })
        };
        Ok(Self { workers: (0..count).map(start).collect::<io::Result<_>>()? })
    }

    /// Gives a connection to the worker that has the fewest.
    pub(crate) fn serve(&self, accepted: Accepted) {
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed))
        else {
            return;
        };
        worker.open.fetch_add(1, Ordering::Relaxed);
        if worker.connections.send(accepted).is_err() {
            tracing::error!("a worker thread is gone");
        }
    }

    /// Ends the threads; connections that are still open are dropped.
    pub(crate) fn stop(self) {
        for Worker { connections, thread, .. } in self.workers {
            drop(connections);
            if thread.join().is_err() {
                tracing::error!("a worker thread broke down");
            }
        }
    }
}

fn run(runtime: Runtime, app: &Arc<App>, mut accepted: UnboundedReceiver<Accepted>, open: &Arc<AtomicUsize>) {
    let protocol = Arc::new(connection::protocol());
    runtime.spawn(WakeRelay::of_this_thread().run());
    runtime.spawn(Turn::of_this_thread().run());
    runtime.block_on(async {
        while let Some(next) = accepted.recv().await {
            let (app, protocol, open) = (Arc::clone(app), Arc::clone(&protocol), Open(Arc::clone(open)));
            tokio::spawn(async move {
                let _open = open;
                serve(app, next, &protocol).await;
            });
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// Counts a worker's connection until it is dropped, also where the task is.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(app: Arc<App>, accepted: Accepted, protocol: &http1::Builder) {
    let Accepted { socket, peer, client, place, client_place } = accepted;
    let socket = match TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(error = %error, "a connection could not be taken over");
            return;
        }
    };
    let connection = Arc::new(Connection::new(app, peer, client));
    let registered = Registered::new(&connection, client_place);
    connection::serve(connection, protocol, socket).await;
    drop(registered);
    drop(place);
}

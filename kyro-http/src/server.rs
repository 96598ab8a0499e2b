//! The server's life: bind, open, serve, drain, close.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kyro_engine::{CloseError, Engine, MaintenanceError, OpenError, Options};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::app::{App, Life, reach};
use crate::config::Config;
use crate::connections;
use crate::exit::{Exit, of_open_error};
use crate::metrics::Cut;
use crate::problem::{Code, Problem};
use crate::rate_limit::RateLimits;
use crate::workers::{Accepted, Workers};

/// Why the server ended before it was told to, or not as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot listen on {addresses:?}")]
    Bind {
        addresses: Vec<SocketAddr>,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot warm up")]
    WarmUp(#[from] MaintenanceError),
    #[error("the database was not closed cleanly")]
    Close(#[from] CloseError),
    #[error("cannot start the threads that serve connections")]
    Workers(#[source] io::Error),
    #[error("a thread of the server broke down")]
    Thread(#[from] tokio::task::JoinError),
}

impl ServeError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Open(error) => of_open_error(error),
            _ => Exit::Failed,
        }
    }
}

/// Serves until `stop` resolves, then drains and closes. `listening` is told the address once requests are answered.
pub(crate) async fn serve(
    config: Config,
    stop: impl Future<Output = ()>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    serve_engine(config, |dir, options| Engine::open(dir, options), stop, listening).await
}

/// As [`serve`], with the engine that `open` gives.
async fn serve_engine(
    config: Config,
    open_engine: impl FnOnce(&Path, Options) -> Result<Engine, OpenError> + Send + 'static,
    stop: impl Future<Output = ()>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let bound = TcpListener::bind(&config.addresses[..]).await;
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) =
        bound.map_err(|source| ServeError::Bind { addresses: config.addresses.clone(), source })?;
    let rates = RateLimits::new(config.rates);
    let durability = config.options.durability;
    let app = Arc::new(App::new(config.access, config.limits, rates, config.roots, durability));
    let workers = Workers::start(&app, config.threads).map_err(ServeError::Workers)?;
    let places = Arc::new(Semaphore::new(config.limits.max_connections as usize));
    let watching = tokio::spawn(connections::watch(Arc::clone(&app)));
    // Probes are answered from here on; everything else gets 503 until the engine is open.
    let accepting = tokio::spawn(accept(Arc::clone(&app), listener, Arc::clone(&places), workers));

    let mut stop = pin!(stop);
    let engine = tokio::select! {
        engine = open(&app, &config.data_dir, config.options, config.warm_on_start, open_engine) => engine?,
        () = stop.as_mut() => {
            // Recovery may be broken off anywhere: the next open starts it again.
            tracing::info!("stopped before the database was open");
            return Ok(());
        }
    };
    app.ready(engine.clone());
    listening(address);

    stop.await;
    tracing::info!(
        seconds = config.limits.drain_timeout.as_secs_f64(),
        "stopping: finishing what is under way"
    );
    app.enter(Life::Draining);
    let workers = accepting.await?;
    drain(&app, &places, config.limits.max_connections, config.limits.drain_timeout).await;
    app.enter(Life::Cut);
    watching.await?;
    spawn_blocking(move || {
        workers.stop();
        engine.close()
    })
    .await??;
    tracing::info!("stopped");
    Ok(())
}

async fn open(
    app: &Arc<App>,
    dir: &Path,
    mut options: Options,
    warm_up: bool,
    open_engine: impl FnOnce(&Path, Options) -> Result<Engine, OpenError> + Send + 'static,
) -> Result<Engine, ServeError> {
    let (progress_app, dir) = (Arc::clone(app), dir.to_owned());
    options.on_progress = Some(Arc::new(move |progress| progress_app.progress(progress)));
    let engine = spawn_blocking(move || {
        let engine = open_engine(&dir, options)?;
        if warm_up {
            engine.warm_up()?;
        }
        Ok::<_, ServeError>(engine)
    });
    let engine = engine.await??;
    let stats = engine.stats();
    tracing::info!(
        next_offset = stats.next_offset,
        keys_at_most = stats.keys_at_most,
        replayed = stats.recovery.operations,
        seconds = stats.recovery.time.as_secs_f64(),
        "database open"
    );
    if let Some(tail) = &stats.recovery.tail {
        tracing::warn!(tail, "the log's end was cut off: the last run did not stop cleanly");
    }
    Ok(engine)
}

/// Waits for the connections to finish what they are at, and cuts those that do not in time.
async fn drain(app: &App, places: &Semaphore, connections: u32, patience: Duration) {
    let all_ended = || places.acquire_many(connections);
    if timeout(patience, all_ended()).await.is_ok() {
        return;
    }
    let open = app.metrics.connections.get();
    tracing::warn!(open, "the time to finish is over: cutting the connections that are left");
    app.enter(Life::Cut);
    if timeout(Duration::from_secs(5), all_ended()).await.is_err() {
        tracing::warn!(open = app.metrics.connections.get(), "some connections could not be cut");
    }
}

/// Takes connections and gives them to the workers, until the server is told to stop.
async fn accept(app: Arc<App>, listener: TcpListener, places: Arc<Semaphore>, workers: Workers) -> Workers {
    const FIRST_PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);
    let mut life = app.watch_life();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reach(&mut life, Life::Draining) => return workers,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if concerns_one_connection(&error) => continue,
            Err(error) => {
                // Out of descriptors or memory: trying at once again would only burn the processor.
                tracing::warn!(error = %error, pause_ms = pause.as_millis(), "cannot accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        app.metrics.connections_total.fetch_add(1, Ordering::Relaxed);
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            turn_away(&app, &socket, Cut::TooMany, app.limits.max_connections);
            continue;
        };
        let client = app.rates.client(peer.ip());
        // Behind a trusted proxy, connections are the proxy's and not a client's.
        let limit = if app.access.proxies.trusts(peer.ip()) {
            u32::MAX
        } else {
            app.limits.max_connections_per_client
        };
        let Some(client_place) = client.connect(limit) else {
            turn_away(&app, &socket, Cut::TooManyOfClient, limit);
            continue;
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(error = %error, "cannot set TCP_NODELAY");
        }
        match socket.into_std() {
            Ok(socket) => workers.serve(Accepted { socket, peer: peer.ip(), client, place, client_place }),
            Err(error) => tracing::warn!(error = %error, "a connection could not be passed on"),
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Answers a connection too many without spending a task on it: what fits the socket's buffer is sent, no more.
fn turn_away(app: &App, socket: &TcpStream, reason: Cut, limit: u32) {
    app.metrics.cut(reason);
    let whose = if reason == Cut::TooManyOfClient { " of this address" } else { "" };
    let detail = format!("{limit} connections{whose} are open, the most at a time");
    let document = Problem::new(Code::Overloaded, detail).to_json(&app.request_id());
    let mut response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        document.len()
    )
    .into_bytes();
    response.extend_from_slice(&document);
    if let Err(error) = socket.try_write(&response) {
        tracing::debug!(
            error = kyro_engine::describe(&error),
            "a connection too many was closed without an answer"
        );
    }
}

#[cfg(test)]
mod poisoned;

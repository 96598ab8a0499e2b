//! What every connection of one server shares.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use kyro_engine::{Durability, Engine, Progress};
use tokio::sync::{Semaphore, watch};

use crate::config::{AccessConfig, Limits, Roots};
use crate::connections::Connections;
use crate::exposition::Exposition;
use crate::metrics::Metrics;
use crate::problem::{Code, Problem};
use crate::rate_limit::RateLimits;
use crate::read_body::BodyLimits;
use crate::tasks::Tasks;

/// How far the server's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// Taking requests (or getting ready to).
    Serving,
    /// Told to stop: what is under way is finished, nothing new is begun.
    Draining,
    /// The time for that is over: connections are cut.
    Cut,
}

/// Resolves when the server's life has come to this point.
pub(crate) async fn reach(life: &mut watch::Receiver<Life>, point: Life) {
    if life.wait_for(|now| *now >= point).await.is_err() {
        std::future::pending::<()>().await; // without a server there is no life to wait for
    }
}

/// One server's state.
#[derive(Debug)]
pub(crate) struct App {
    engine: Arc<OnceLock<Engine>>,
    opening: Mutex<Option<Progress>>,
    life: watch::Sender<Life>,
    pub(crate) access: AccessConfig,
    pub(crate) limits: Limits,
    pub(crate) bodies: BodyLimits,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rates: Arc<RateLimits>,
    pub(crate) exposition: Exposition,
    pub(crate) connections: Connections,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) roots: Roots,
    /// What an acknowledged write means.
    pub(crate) durability: Durability,
    started: Instant,
    request_ids: RequestIds,
}

impl App {
    pub(crate) fn new(
        access: AccessConfig,
        limits: Limits,
        rates: RateLimits,
        roots: Roots,
        durability: Durability,
    ) -> Self {
        let engine = Arc::new(OnceLock::new());
        let rates = Arc::new(rates);
        let metrics = Arc::new(Metrics::default());
        Self {
            exposition: Exposition::new(Arc::clone(&metrics), Arc::clone(&rates), Arc::clone(&engine)),
            bodies: BodyLimits::new(limits.max_body_bytes, limits.body_timeout, limits.body_memory_bytes),
            streams: Arc::new(Semaphore::new(limits.max_streams as usize)),
            opening: Mutex::new(None),
            life: watch::Sender::new(Life::Serving),
            request_ids: RequestIds::new(),
            connections: Connections::default(),
            tasks: Arc::default(),
            roots,
            durability,
            started: Instant::now(),
            engine,
            access,
            limits,
            metrics,
            rates,
        }
    }

    /// The engine, once it is open.
    pub(crate) fn engine(&self) -> Result<&Engine, Problem> {
        self.engine.get().ok_or_else(|| {
            let detail = format!("the database is being opened{}", self.opening_text());
            Problem::new(Code::NotReady, detail).retry_after(1)
        })
    }

    /// Makes the engine known: from here on the server is ready.
    pub(crate) fn ready(&self, engine: Engine) {
        if self.engine.set(engine).is_err() {
            tracing::error!("the engine was opened twice");
        }
    }

    /// Notes how far the engine's long work has come: opening, for whoever asks `/readyz`, or a task.
    pub(crate) fn progress(&self, progress: &Progress) {
        if self.engine.get().is_some() {
            return self.tasks.note(progress);
        }
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = Some(*progress);
    }

    fn opening_text(&self) -> String {
        let progress = *self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Progress { task, done, total, unit, .. }) = progress else { return String::new() };
        let mut text = format!(" ({task}: {done}");
        if let Some(total) = total {
            let _infallible = write!(text, " of {total}");
        }
        text + " " + unit + ")"
    }

    pub(crate) fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// Moves on in life; never back.
    pub(crate) fn enter(&self, life: Life) {
        self.life.send_if_modified(|now| {
            let later = *now < life;
            *now = life.max(*now);
            later
        });
    }

    pub(crate) fn watch_life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Milliseconds since the start.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn request_id(&self) -> String {
        self.request_ids.next()
    }
}

/// Ids for error answers and the log lines that belong to them: unique, and telling nothing.
#[derive(Debug)]
struct RequestIds {
    start: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        // A fresh hasher's keys are random: enough to tell one start of the server from another.
        Self { start: RandomState::new().build_hasher().finish() as u32, next: AtomicU64::new(1) }
    }

    fn next(&self) -> String {
        format!("{:08x}-{:x}", self.start, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

//! Writes of one operation each, of whatever connections, that come in one turn of a worker: they are committed as one
//! batch. So the engine is asked once, its committer is woken once and the worker is woken once, however many
//! connections wait.
//!
//! The first write of a turn wakes a task of the worker. It runs after the connections that are ready already, and hands
//! over what they have left: nothing waits for anything that is not there yet.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};

use kyro_engine::{Batch, Committed, Engine, WriteError};

/// A batch is handed over when it has grown to this size.
const BATCH_BYTES: usize = 256 << 10;
/// A larger operation is a batch of its own.
const OPERATION_BYTES: usize = 16 << 10;

thread_local! {
    /// The turn of this thread, where it is a worker.
    static TURN: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
}

/// One operation without a condition.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Single<'a> {
    Put { key: u64, value: &'a [u8] },
    Append { payload: &'a [u8] },
}

impl Single<'_> {
    fn bytes(self) -> usize {
        match self {
            Self::Put { value: bytes, .. } | Self::Append { payload: bytes } => bytes.len(),
        }
    }

    fn add_to(self, batch: &mut Batch) {
        match self {
            Self::Put { key, value } => batch.put(key, value),
            Self::Append { payload } => batch.append(payload),
        };
    }

    /// A batch of this operation alone.
    pub(crate) fn alone(self) -> Batch {
        let mut batch = Batch::with_capacity(self.bytes() + 16);
        self.add_to(&mut batch);
        batch
    }
}

/// What a worker's connections have left in this turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pending: Mutex<Option<Pending>>,
    task: OnceLock<Waker>,
}

#[derive(Debug)]
struct Pending {
    engine: Engine,
    batch: Batch,
    group: Arc<Group>,
}

/// Those who wait for one batch.
#[derive(Debug, Default)]
struct Group(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Outcome>,
    tasks: Vec<Waker>,
}

/// What came of a batch.
#[derive(Debug, Clone)]
enum Outcome {
    Written(Committed),
    /// Nothing of it was written, perhaps because of one operation: each is to try for itself.
    Alone,
    Failed(WriteError),
}

/// What came of one operation.
#[derive(Debug)]
pub(crate) enum Settled {
    /// It has this offset.
    Written(u64),
    /// It was not tried, or not written: it is to be committed alone.
    Alone,
    Failed(WriteError),
}

impl Turn {
    /// Makes a turn the one of this thread. [`run`](Self::run) is to be spawned on the thread's runtime.
    pub(crate) fn of_this_thread() -> Arc<Self> {
        let turn = Arc::new(Self::default());
        TURN.set(Some(Arc::clone(&turn)));
        turn
    }

    /// Hands over what was left, turn by turn, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        poll_fn(|context| {
            // A task keeps its waker for life. It is there before the batch is looked at, so that no wake is missed.
            self.task.get_or_init(|| context.waker().clone());
            let pending = self.pending().take();
            if let Some(pending) = pending {
                pending.hand_over();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an operation; gives its group and its place there.
    fn add(&self, engine: &Engine, operation: Single<'_>) -> (Arc<Group>, u64) {
        let mut pending = self.pending();
        let first = pending.is_none();
        let Pending { batch, group, .. } = pending.get_or_insert_with(|| Pending {
            engine: engine.clone(),
            batch: Batch::with_capacity(4 << 10),
            group: Arc::default(),
        });
        let place = batch.len() as u64;
        operation.add_to(batch);
        let group = Arc::clone(group);
        let full = if batch.bytes() >= BATCH_BYTES { pending.take() } else { None };
        drop(pending);
        if let Some(full) = full {
            full.hand_over();
        } else if first && let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
        (group, place)
    }
}

impl Pending {
    fn hand_over(self) {
        let Self { engine, batch, group } = self;
        match engine.write(batch) {
            Ok(commit) => {
                tokio::spawn(async move { group.settle(commit.await) });
            }
            Err(error) => group.settle(Err(error)),
        }
    }
}

impl Group {
    fn settle(&self, result: Result<Committed, WriteError>) {
        let outcome = match result {
            Ok(committed) => Outcome::Written(committed),
            // What may have been written, or never will be, is not tried again.
            Err(
                error @ (WriteError::CommitUnknown { .. } | WriteError::Poisoned { .. } | WriteError::Closed),
            ) => Outcome::Failed(error),
            Err(_) => Outcome::Alone,
        };
        let mut waiting = self.waiting();
        waiting.outcome = Some(outcome);
        let tasks = mem::take(&mut waiting.tasks);
        drop(waiting);
        tasks.into_iter().for_each(Waker::wake);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits an operation together with those of other connections. On a thread that is no worker, and where the operation
/// is large, nothing is tried.
pub(crate) async fn commit(engine: &Engine, operation: Single<'_>) -> Settled {
    if operation.bytes() > OPERATION_BYTES {
        return Settled::Alone;
    }
    let Some((group, place)) = TURN.with_borrow(|turn| turn.as_ref().map(|turn| turn.add(engine, operation)))
    else {
        return Settled::Alone;
    };
    let mut registered = false;
    let outcome = poll_fn(|context| {
        let mut waiting = group.waiting();
        if let Some(outcome) = &waiting.outcome {
            return Poll::Ready(outcome.clone());
        }
        // A connection's task keeps its waker for life.
        if !mem::replace(&mut registered, true) {
            waiting.tasks.push(context.waker().clone());
        }
        Poll::Pending
    });
    match outcome.await {
        Outcome::Written(committed) => Settled::Written(committed.first_offset + place),
        Outcome::Alone => Settled::Alone,
        Outcome::Failed(error) => Settled::Failed(error),
    }
}

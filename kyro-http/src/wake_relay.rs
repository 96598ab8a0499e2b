//! Commits are answered a group at a time, by a thread of the engine. Waking each connection's task from there would cost
//! a system call for each; instead the first of a group wakes one task of the worker, which wakes the others where that
//! costs next to nothing.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    /// The relay of this thread, where it is a worker.
    static RELAY: RefCell<Option<Arc<WakeRelay>>> = const { RefCell::new(None) };
}

/// The tasks of one worker that are to be woken.
#[derive(Debug, Default)]
pub(crate) struct WakeRelay {
    due: Mutex<Vec<Waker>>,
    task: OnceLock<Waker>,
}

impl WakeRelay {
    /// Makes a relay the one of this thread. [`run`](Self::run) is to be spawned on the thread's runtime.
    pub(crate) fn of_this_thread() -> Arc<Self> {
        let relay = Arc::new(Self::default());
        RELAY.set(Some(Arc::clone(&relay)));
        relay
    }

    /// Passes wakes on, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut due = Vec::new();
        poll_fn(|context| {
            // A task keeps its waker for life. It is there before the list is looked at, so that no wake is missed.
            self.task.get_or_init(|| context.waker().clone());
            std::mem::swap(&mut due, &mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
            due.drain(..).for_each(Waker::wake);
            Poll::<()>::Pending
        })
        .await;
    }

    fn add(&self, task: Waker) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.push(task);
        let first = due.len() == 1;
        drop(due);
        if first && let Some(relay) = self.task.get() {
            relay.wake_by_ref();
        }
    }
}

/// The waker that a commit has: it goes through the relay.
struct Relayed {
    relay: Arc<WakeRelay>,
    task: Waker,
}

impl Wake for Relayed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.relay.add(self.task.clone());
    }
}

/// Awaits a future that another thread answers, and is woken through the relay of this thread, where it has one. The
/// future must not change threads.
pub(crate) async fn relayed<F: Future + Unpin>(mut future: F) -> F::Output {
    let mut relayed: Option<Waker> = None;
    poll_fn(move |context: &mut Context<'_>| {
        let waker = relayed.get_or_insert_with(|| {
            let task = context.waker().clone();
            match RELAY.with_borrow(Clone::clone) {
                Some(relay) => Waker::from(Arc::new(Relayed { relay, task })),
                None => task,
            }
        });
        Pin::new(&mut future).poll(&mut Context::from_waker(waker))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::oneshot;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_wakes_from_elsewhere_are_one_for_the_worker() {
        let relay = WakeRelay::default();
        let (own, task) = (Arc::new(Count::default()), Arc::new(Count::default()));
        relay.task.set(Waker::from(Arc::clone(&own))).unwrap();
        for _ in 0..64 {
            relay.add(Waker::from(Arc::clone(&task)));
        }
        assert_eq!((own.0.load(Ordering::Relaxed), task.0.load(Ordering::Relaxed)), (1, 0));
        let mut running = Box::pin(Arc::new(relay).run());
        assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(task.0.load(Ordering::Relaxed), 64);
    }

    #[test]
    fn tasks_of_a_worker_and_of_other_threads_are_woken() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for worker in [false, true] {
            if worker {
                runtime.spawn(WakeRelay::of_this_thread().run());
            }
            let (senders, waiting): (Vec<_>, Vec<_>) = (0..100).map(|_| oneshot::channel::<u8>()).unzip();
            let tasks: Vec<_> = waiting.into_iter().map(|one| runtime.spawn(relayed(one))).collect();
            let answering = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                for sender in senders {
                    sender.send(7).unwrap();
                }
            });
            runtime.block_on(async {
                for task in tasks {
                    assert_eq!(task.await.unwrap(), Ok(7));
                }
            });
            answering.join().unwrap();
        }
        RELAY.set(None);
    }
}

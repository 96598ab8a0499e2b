//! The visible offset: everything below it can be read. Awaitable without a runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::commit::wake;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// One past the newest visible operation, and who waits for it to move.
#[derive(Debug)]
pub(crate) struct Visible {
    next: AtomicU64,
    closed: AtomicBool,
    waiting: Mutex<BTreeMap<u64, Waker>>,
    tickets: AtomicU64,
}

impl Visible {
    pub(crate) fn new(next: u64) -> Self {
        Self {
            next: AtomicU64::new(next),
            closed: AtomicBool::new(false),
            waiting: Mutex::default(),
            tickets: AtomicU64::new(0),
        }
    }

    /// One past the newest visible operation.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Makes everything below `next` visible and wakes whoever waits. Only the committer calls this.
    pub(crate) fn publish(&self, next: u64) {
        self.next.store(next, Ordering::Release);
        self.wake();
    }

    /// Ends every wait: nothing more will become visible.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // The lock orders this against a waiter that has looked at `next` and not yet left its waker.
        let waiting = std::mem::take(&mut *self.waiting());
        for waker in waiting.into_values() {
            wake(waker);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves to the visible offset once it is beyond the one waited for, or once the engine is closed.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct VisibleAfter {
    visible: Arc<Visible>,
    offset: u64,
    ticket: u64,
}

impl VisibleAfter {
    pub(crate) fn new(visible: Arc<Visible>, offset: u64) -> Self {
        let ticket = visible.tickets.fetch_add(1, Ordering::Relaxed);
        Self { visible, offset, ticket }
    }

    fn ready(&self) -> Option<u64> {
        // Read before the offset: whoever hears of the end hears of everything that was published before it.
        let closed = self.visible.closed.load(Ordering::Acquire);
        let next = self.visible.next();
        (closed || next > self.offset).then_some(next)
    }
}

impl Future for VisibleAfter {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        if let Some(next) = self.ready() {
            return Poll::Ready(next);
        }
        let mut waiting = self.visible.waiting();
        if let Some(next) = self.ready() {
            return Poll::Ready(next);
        }
        waiting.insert(self.ticket, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for VisibleAfter {
    fn drop(&mut self) {
        // A reader that went away leaves nothing behind, also where no write ever comes.
        self.visible.waiting().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_when_the_offset_moves_past_and_when_closed() {
        let visible = Arc::new(Visible::new(5));
        let mut context = Context::from_waker(Waker::noop());
        let mut past = VisibleAfter::new(Arc::clone(&visible), 4);
        assert_eq!(Pin::new(&mut past).poll(&mut context), Poll::Ready(5));
        let mut wait = VisibleAfter::new(Arc::clone(&visible), 5);
        assert!(Pin::new(&mut wait).poll(&mut context).is_pending());
        visible.publish(9);
        assert_eq!(Pin::new(&mut wait).poll(&mut context), Poll::Ready(9));
        let mut wait = VisibleAfter::new(Arc::clone(&visible), 9);
        assert!(Pin::new(&mut wait).poll(&mut context).is_pending());
        visible.close();
        assert_eq!(Pin::new(&mut wait).poll(&mut context), Poll::Ready(9));
    }

    #[test]
    fn a_dropped_wait_leaves_no_waker() {
        let visible = Arc::new(Visible::new(0));
        let mut wait = VisibleAfter::new(Arc::clone(&visible), 0);
        assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(visible.waiting().len(), 1);
        drop(wait);
        assert_eq!(visible.waiting().len(), 0);
    }
}

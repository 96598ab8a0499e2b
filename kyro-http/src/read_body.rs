//! Reading a request's body: bounded by its declared and by its real length, by time, and by one budget of memory
//! that all connections share.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Code, Problem};

/// Bodies up to this size take nothing from the shared budget; the number of connections bounds them.
const SMALL_BYTES: u64 = 64 << 10;
const PERMIT_BYTES: u64 = 1 << 10;

/// The limits of request bodies.
#[derive(Debug, Clone)]
pub(crate) struct BodyLimits {
    max_bytes: u64,
    timeout: Duration,
    budget: Arc<Semaphore>,
}

/// A body in memory, with its part of the budget.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _budget: Option<OwnedSemaphorePermit>,
}

impl BodyLimits {
    /// `budget_bytes`: what all large bodies together may take.
    pub(crate) fn new(max_bytes: u64, timeout: Duration, budget_bytes: u64) -> Self {
        let permits = (budget_bytes.max(max_bytes) / PERMIT_BYTES + 1).min(Semaphore::MAX_PERMITS as u64);
        Self { max_bytes, timeout, budget: Arc::new(Semaphore::new(permits as usize)) }
    }

    /// How long a body, or the next part of a stream, may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Reads a body to its end. A body that came in one piece is not copied.
    pub(crate) async fn read(&self, body: Incoming) -> Result<Received, Problem> {
        let declared = body.size_hint();
        if declared.lower() > self.max_bytes {
            return Err(self.too_large());
        }
        let mut budget = None;
        self.reserve(&mut budget, declared.lower())?;
        let mut collecting = pin!(self.collect(body, budget));
        // A body that came with its head is there by now, and needs no timer.
        let at_once = poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await;
        match at_once {
            Poll::Ready(received) => received,
            Poll::Pending => tokio::time::timeout(self.timeout, collecting).await.unwrap_or_else(|_| {
                Err(Problem::new(
                    Code::BodyTimeout,
                    format!("the body did not arrive within {} seconds", self.timeout.as_secs_f64()),
                ))
            }),
        }
    }

    async fn collect(
        &self,
        mut body: Incoming,
        mut budget: Option<OwnedSemaphorePermit>,
    ) -> Result<Received, Problem> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut length = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| Problem::new(Code::BadRequest, "the body broke off or is malformed"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            if length > self.max_bytes {
                return Err(self.too_large());
            }
            self.reserve(&mut budget, length)?;
            if first.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    // What is declared has been reserved above, so it may be allocated.
                    rest.reserve(length.max(first.len() as u64 + body.size_hint().lower()) as usize);
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
        let bytes = if rest.is_empty() { first } else { rest.freeze() };
        Ok(Received { bytes, _budget: budget })
    }

    fn reserve(&self, budget: &mut Option<OwnedSemaphorePermit>, length: u64) -> Result<(), Problem> {
        if length <= SMALL_BYTES {
            return Ok(());
        }
        let wanted = length.div_ceil(PERMIT_BYTES) as usize;
        let missing = wanted.saturating_sub(budget.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let overloaded = || {
            Problem::new(Code::Overloaded, "too many large bodies are being received; try again shortly")
                .retry_after(1)
        };
        let missing = u32::try_from(missing).map_err(|_| self.too_large())?;
        let more = Arc::clone(&self.budget).try_acquire_many_owned(missing).map_err(|_| overloaded())?;
        match budget {
            Some(held) => held.merge(more),
            None => *budget = Some(more),
        }
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(Code::BodyTooLarge, format!("the body is over the limit of {} bytes", self.max_bytes))
    }
}

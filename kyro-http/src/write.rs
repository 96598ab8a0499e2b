//! Writes on their way into the engine: one operation or a batch, with what it expects of its keys.

use std::time::Duration;

use kyro_engine::{Batch, Commit, Committed, Engine, WriteError};

use crate::frame::{Op, Operation};
use crate::problem::Problem;
use crate::together::{self, Settled, Single};
use crate::wake_relay::relayed;

/// How long a write waits where the engine holds writers back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Commits one batch, and waits a little where the engine holds writers back: a flush that is under way ends the
/// stall, and a client that is told to come back would only come back.
pub(crate) async fn commit(engine: &Engine, batch: impl Fn() -> Batch) -> Result<Committed, Problem> {
    let mut pause = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    let commit: Commit = loop {
        match engine.write(batch()) {
            Ok(commit) => break commit,
            Err(WriteError::Busy { .. }) if waited < PATIENCE => {
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = (pause * 2).min(Duration::from_millis(64));
            }
            Err(error) => return Err(error.into()),
        }
    };
    Ok(relayed(commit).await?)
}

/// Commits one operation, in one batch with those of other connections where there are some; gives its offset.
pub(crate) async fn commit_single(engine: &Engine, operation: Single<'_>) -> Result<u64, Problem> {
    match together::commit(engine, operation).await {
        Settled::Written(offset) => Ok(offset),
        Settled::Alone => Ok(commit(engine, || operation.alone()).await?.first_offset),
        Settled::Failed(error) => Err(error.into()),
    }
}

/// Commits operations as one batch, all or nothing.
pub(crate) async fn write(engine: &Engine, operations: &[Operation]) -> Result<Committed, Problem> {
    commit(engine, || batch(operations)).await
}

fn batch(operations: &[Operation]) -> Batch {
    let bytes = operations.iter().map(|operation| operation.op.bytes() + 32).sum();
    let mut batch = Batch::with_capacity(bytes);
    for Operation { op, expected } in operations {
        match (op, *expected) {
            (Op::Put { key, value }, None) => batch.put(*key, value),
            (Op::Put { key, value }, Some(condition)) => batch.put_if(*key, value, condition),
            (Op::Delete { key }, None) => batch.delete(*key),
            (Op::Delete { key }, Some(condition)) => batch.delete_if(*key, condition),
            (Op::Append { payload }, _) => batch.append(payload),
        };
    }
    batch
}

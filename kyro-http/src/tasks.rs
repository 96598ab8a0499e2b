//! Long work, as clients see it: what runs, how far it has come, what came of it; and the wish that it stop.
//!
//! The table is bounded: of the work that has ended the oldest entries go first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kyro_engine::Progress;
use serde_json::{Value, json};

/// Entries kept, running ones aside.
const ENDED_MAX: usize = 256;

/// What kind of work a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Snapshot,
    Compact,
    BuildIndex,
    WarmUp,
    Load,
    Backup,
    Push,
    Rollback,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Compact => "compact",
            Self::BuildIndex => "rmi_build",
            Self::WarmUp => "warmup",
            Self::Load => "load",
            Self::Backup => "backup",
            Self::Push => "push",
            Self::Rollback => "rollback",
        }
    }

    /// Whether it can stop half-way. A push and a rollback replace everything in one step: there is no half.
    const fn can_stop(self) -> bool {
        !matches!(self, Self::Push | Self::Rollback)
    }

    /// Whether progress that the engine reports under this name belongs to such work.
    fn reports_as(self, task: &str) -> bool {
        match self {
            Self::Snapshot => task == "flush" || task == "index",
            Self::Compact => ["flush", "compact", "index"].contains(&task),
            Self::BuildIndex => ["flush", "index", "count"].contains(&task),
            Self::WarmUp => task == "warm-up",
            Self::Backup => task == "checkpoint" || task == "flush",
            Self::Push => ["verify", "index", "flush"].contains(&task),
            Self::Rollback => task == "flush",
            Self::Load => false,
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Cancelled,
}

/// One piece of long work.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    started: Instant,
    done: AtomicU64,
    /// 0 = not known.
    total: AtomicU64,
    unit: OnceLock<&'static str>,
    cancel: Arc<AtomicBool>,
    end: OnceLock<(End, Duration, Value)>,
}

impl Task {
    /// Notes how far the work has come.
    pub(crate) fn progress(&self, done: u64, total: Option<u64>, unit: &'static str) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.unit.get_or_init(|| unit);
    }

    /// Whether somebody wants the work to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// True from when somebody wants the work to stop.
    pub(crate) fn wish(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    fn is_running(&self) -> bool {
        self.end.get().is_none()
    }

    fn ends(&self, end: End, result: Value) {
        if self.end.set((end, self.started.elapsed(), result)).is_err() {
            tracing::error!(id = self.id, "a task ended twice");
        }
    }

    /// The task as a JSON document.
    pub(crate) fn document(&self) -> Value {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let known = (total > 0).then_some(total);
        let (state, seconds, result) = match self.end.get() {
            None if self.is_cancelled() => ("cancelling", self.started.elapsed(), &Value::Null),
            None => ("running", self.started.elapsed(), &Value::Null),
            Some((End::Done, took, result)) => ("done", *took, result),
            Some((End::Failed, took, result)) => ("failed", *took, result),
            Some((End::Cancelled, took, result)) => ("cancelled", *took, result),
        };
        let eta = known.filter(|_| self.is_running() && done > 0).map(|total| {
            let each = seconds.as_secs_f64() / done as f64;
            round(each * total.saturating_sub(done) as f64)
        });
        json!({
            "id": self.id,
            "kind": self.kind.name(),
            "state": state,
            "seconds": round(seconds.as_secs_f64()),
            "done": done,
            "total": known,
            "unit": self.unit.get(),
            "eta_seconds": eta,
            "result": result,
        })
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// The tasks of one server, newest last.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    next: AtomicU64,
    list: Mutex<VecDeque<Arc<Task>>>,
}

/// Ends a task as failed where nobody ends it otherwise: its thread broke down or its client's body broke off.
#[derive(Debug)]
pub(crate) struct Running(Arc<Task>);

impl Running {
    pub(crate) fn task(&self) -> &Arc<Task> {
        &self.0
    }

    pub(crate) fn done(self, result: Value) {
        self.0.ends(End::Done, result);
    }

    pub(crate) fn failed(self, why: &str) {
        self.0.ends(End::Failed, json!({ "error": why }));
    }

    pub(crate) fn cancelled(self, result: Value) {
        self.0.ends(End::Cancelled, result);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.is_running() {
            self.0.ends(End::Failed, json!({ "error": "it was broken off" }));
        }
    }
}

impl Tasks {
    /// Begins a task.
    pub(crate) fn begin(&self, kind: Kind) -> Running {
        let task = Arc::new(Task {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            kind,
            started: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            unit: OnceLock::new(),
            cancel: Arc::default(),
            end: OnceLock::new(),
        });
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push_back(Arc::clone(&task));
        let ended = list.iter().filter(|task| !task.is_running()).count();
        if ended > ENDED_MAX
            && let Some(oldest) = list.iter().position(|task| !task.is_running())
        {
            list.remove(oldest);
        }
        Running(task)
    }

    /// Every task, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Task>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }

    /// The task of this number.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<Task>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|task| task.id == id).cloned()
    }

    /// Asks a task to stop.
    ///
    /// # Errors
    /// Why it will not: it has ended, or cannot be stopped half-way.
    pub(crate) fn cancel(task: &Task) -> Result<(), &'static str> {
        if !task.is_running() {
            return Err("the task has ended");
        }
        if !task.kind.can_stop() {
            return Err("a push or a rollback replaces everything in one step and cannot stop half-way; \
                        `/v1/rollback` brings back what was there");
        }
        task.cancel.store(true, Ordering::Release);
        Ok(())
    }

    /// Passes on what the engine says of its work to the task that asked for it.
    pub(crate) fn note(&self, progress: &Progress) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = list.iter().filter(|task| task.is_running());
        if let Some(task) = running.find(|task| task.kind.reports_as(progress.task)) {
            task.progress(progress.done, progress.total, progress.unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_tells_how_far_it_is_and_how_it_ended() {
        let tasks = Tasks::default();
        let running = tasks.begin(Kind::Load);
        running.task().progress(10, Some(40), "records");
        let document = running.task().document();
        assert_eq!((&document["state"], &document["done"]), (&json!("running"), &json!(10)));
        assert_eq!((&document["total"], &document["unit"]), (&json!(40), &json!("records")));
        assert!(document["eta_seconds"].is_number());
        let task = tasks.find(1).unwrap();
        assert!(Tasks::cancel(&task).is_ok() && running.task().is_cancelled());
        assert_eq!(task.document()["state"], "cancelling");
        running.cancelled(json!({ "loaded": 10 }));
        assert_eq!(
            (&task.document()["state"], &task.document()["result"]["loaded"]),
            (&json!("cancelled"), &json!(10))
        );
        assert_eq!(Tasks::cancel(&task), Err("the task has ended"));

        drop(tasks.begin(Kind::Compact));
        assert_eq!(tasks.find(2).unwrap().document()["state"], "failed");
        for kind in [Kind::Push, Kind::Rollback] {
            let whole = tasks.begin(kind);
            assert!(Tasks::cancel(whole.task()).is_err_and(|why| why.contains("in one step")), "{kind:?}");
            assert!(!whole.task().is_cancelled() && whole.task().document()["state"] == "running");
            whole.done(Value::Null);
        }
        let snapshot = tasks.begin(Kind::Snapshot);
        assert_eq!(Tasks::cancel(snapshot.task()), Ok(()));
        snapshot.failed("no space");
        assert_eq!(tasks.all()[0].document()["result"]["error"], "no space");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_runs() {
        let tasks = Tasks::default();
        let running = tasks.begin(Kind::WarmUp);
        for _ in 0..1000 {
            tasks.begin(Kind::Snapshot).done(Value::Null);
        }
        assert!(tasks.all().len() <= ENDED_MAX + 2);
        assert!(
            tasks.find(running.task().id).is_some() && tasks.find(2).is_none() && tasks.find(1001).is_some()
        );
    }
}

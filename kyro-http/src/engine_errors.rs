//! What each error of the engine is to a client: the one table from error to answer.

use std::borrow::Cow;
use std::path::Path;

use kyro_engine::{FailedPrecondition, MaintenanceError, ReadError, WriteError};
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::frame::FrameError;
use crate::problem::{Code, Member, Problem};

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let told = error.to_string();
        let detail = without_directories(&told);
        if detail != told {
            tracing::warn!(error = told, "a write failed");
        }
        match error {
            WriteError::TooLarge { .. } | WriteError::TooManyOperations { .. } => {
                Self::new(Code::ValueTooLarge, detail)
            }
            WriteError::NotWritten { .. } | WriteError::Busy { .. } => {
                Self::new(Code::Overloaded, detail).retry_after(1)
            }
            WriteError::StorageFull { .. } => Self::new(Code::InsufficientStorage, detail).retry_after(1),
            WriteError::CommitUnknown { .. } => Self::new(Code::CommitUnknown, detail),
            WriteError::Poisoned { .. } => read_only(detail),
            WriteError::Unchecked(error) => (&*error).into(),
            WriteError::PreconditionFailed { failed } => preconditions(&failed),
            WriteError::Closed => draining(),
            _ => internal(&error),
        }
    }
}

/// Which conditions did not hold: by their place in the batch, as errors name no keys.
fn preconditions(failed: &[FailedPrecondition]) -> Problem {
    let list: Vec<_> = failed.iter().map(|one| json!({ "index": one.index, "found": one.found })).collect();
    let detail = format!("{} of the conditions did not hold; nothing was written", failed.len());
    Problem {
        more: to_raw_value(&list).ok().map(|value| Box::new(Member { name: "failed", value })),
        ..Problem::new(Code::PreconditionsFailed, detail)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        (&error).into()
    }
}

impl From<&ReadError> for Problem {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::Corrupt { file, offset, reason } => {
                tracing::error!(file = %file.display(), offset, reason, "stored bytes are damaged");
                let detail =
                    format!("{} is damaged at byte {offset}; other keys go on being served", name(file));
                Self::new(Code::DataCorruption, detail)
            }
            ReadError::HistoryGone { oldest } => {
                Self { oldest: Some(*oldest), ..Self::new(Code::HistoryGone, error.to_string()) }
            }
            other => internal(other),
        }
    }
}

impl From<MaintenanceError> for Problem {
    fn from(error: MaintenanceError) -> Self {
        match error {
            MaintenanceError::Busy { .. } => Self::new(Code::AlreadyRunning, error.to_string()),
            MaintenanceError::Read(error) => error.into(),
            MaintenanceError::Poisoned { .. } => read_only(without_directories(&error.to_string())),
            MaintenanceError::Closed => draining(),
            MaintenanceError::Cancelled => Self::new(Code::Cancelled, error.to_string()),
            other => internal(&other),
        }
    }
}

impl From<FrameError> for Problem {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::ValueTooLarge { .. } => Code::ValueTooLarge,
            _ => Code::InvalidFrame,
        };
        Self::new(code, error.to_string())
    }
}

/// Only a restart clears it: whoever tries again is to leave time for one.
pub(crate) fn read_only(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::ReadOnly, detail).retry_after(30)
}

fn draining() -> Problem {
    Problem::new(Code::Draining, "the server is stopping").retry_after(1)
}

/// An error whose text may hold paths of this machine: it goes to the log, the client gets the request's id.
pub(crate) fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(error = kyro_engine::describe(error), "a request failed");
    Problem::new(Code::Internal, "the server could not do this; its log says why")
}

/// An error's text with of each path its last part alone: where the files are is nobody's business but the operator's,
/// who finds it in the log.
pub(crate) fn without_directories(text: &str) -> String {
    let words = text.split(' ').map(|word| word.rsplit_once('/').map_or(word, |(_, name)| name));
    words.collect::<Vec<_>>().join(" ")
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Arc;

    #[test]
    fn an_error_is_told_without_directories() {
        let text = "cannot write /var/lib/kyro/runs/7.run: no space left (os error 28)";
        assert_eq!(without_directories(text), "cannot write 7.run: no space left (os error 28)");
        let full =
            Problem::from(WriteError::StorageFull { reason: "no room in /var/lib/kyro/wal/1.wal".into() });
        assert!(full.detail.contains("1.wal") && !full.detail.contains("/var"), "{}", full.detail);
    }

    #[test]
    fn every_error_has_its_answer() {
        let reason: Arc<str> = Arc::from("r");
        let writes = [
            (WriteError::TooLarge { what: "value", bytes: 9, limit: 8 }, 413, "value_too_large"),
            (WriteError::TooManyOperations { operations: 9, limit: 8 }, 413, "value_too_large"),
            (WriteError::NotWritten { reason: Arc::clone(&reason) }, 503, "overloaded"),
            (WriteError::TooManyOperations { operations: 9, limit: 8 }, 413, "value_too_large"),
            (WriteError::Busy { reason: "r" }, 503, "overloaded"),
            (WriteError::NotWritten { reason: Arc::clone(&reason) }, 503, "overloaded"),
            (WriteError::StorageFull { reason: Arc::clone(&reason) }, 507, "insufficient_storage"),
            (WriteError::CommitUnknown { reason: Arc::clone(&reason) }, 503, "commit_unknown"),
            (WriteError::Poisoned { reason: Arc::clone(&reason) }, 503, "read_only"),
            (WriteError::Closed, 503, "draining"),
            (WriteError::EmptyBatch, 500, "internal"),
        ];
        for (error, status, code) in writes {
            let problem = Problem::from(error);
            assert_eq!((problem.code.parts().0, problem.code.parts().1), (status, code));
        }
        let reads = [
            (
                ReadError::Corrupt { file: "/d/runs/1.run".into(), offset: 7, reason: "r".into() },
                "data_corruption",
            ),
            (ReadError::HistoryGone { oldest: 4 }, "history_gone"),
        ];
        for (error, code) in reads {
            assert_eq!(Problem::from(error).code.parts().1, code);
        }
        let io = MaintenanceError::Io {
            doing: "write",
            path: "/secret/place".into(),
            source: io::Error::other("x"),
        };
        let problem = Problem::from(io);
        assert_eq!(problem.code, Code::Internal);
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        assert_eq!(Problem::from(MaintenanceError::Busy { running: "x" }).code, Code::AlreadyRunning);
    }
}

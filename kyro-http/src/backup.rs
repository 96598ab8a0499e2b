//! `POST /v1/backup`: a checkpoint of the database under the one configured directory.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kyro_engine::{CheckpointError, CheckpointOptions, CheckpointReport, Engine};
use serde_json::{Value, json};

use crate::admin::run;
use crate::answer::Answer;
use crate::call::Call;
use crate::engine_errors::internal;
use crate::fields::{FieldError, Object};
use crate::problem::{Code, Problem};
use crate::tasks::Kind;

/// Longest name of a backup.
const NAME_BYTES_MAX: usize = 64;

/// `POST /v1/backup`: `{"name":"…","copy":false}`. No path ever comes from a client: a name is one directory under the root.
pub(crate) async fn post(call: Call) -> Answer {
    let wait = call.query(&["wait"])?.truth("wait")?.unwrap_or(true);
    let (received, _, app, _) = call.read_body().await?;
    let object = Object::parse(&received.bytes, &["name", "copy"])?;
    let name = object.text("name")?.into_owned();
    if !is_name(&name) {
        let reason = "must be 1 to 64 letters, digits, `-` or `_`";
        return Err(FieldError::invalid("name", reason).into());
    }
    let Some(root) = app.roots.backups.clone() else {
        let detail = "backups are off; start the server with --backup-root";
        return Err(Problem::new(Code::BackupsOff, detail));
    };
    let to: PathBuf = root.join(&name);
    let mut options = CheckpointOptions::default();
    options.copy = object.raw("copy").is_ok() && object.truth("copy")?;
    let work = move |engine: &Engine, cancel: &Arc<AtomicBool>| {
        options.base = newest(&root, &name);
        let report = engine.checkpoint_unless(&to, &options, cancel)?;
        let mut written = document(&name, options.base.as_deref(), &report);
        written["backup"] = "ok".into();
        Ok::<_, CheckpointError>(written.to_string())
    };
    run(app, wait, Kind::Backup, None, work, String::clone).await
}

/// The newest other backup under the root: the one above which the next is made.
pub(crate) fn newest(root: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(root).ok()?.filter_map(Result::ok);
    let backups = entries.filter(|entry| {
        let file_name = entry.file_name();
        file_name != name
            && file_name.to_str().is_some_and(is_name)
            && entry.path().join("MANIFEST").is_file()
    });
    let made =
        |entry: &DirEntry| entry.path().join("MANIFEST").metadata().and_then(|file| file.modified()).ok();
    backups.max_by_key(|entry| (made(entry), entry.file_name())).map(|entry| entry.path())
}

/// What a backup holds, and how much of it is new.
pub(crate) fn document(name: &str, base: Option<&Path>, report: &CheckpointReport) -> Value {
    json!({
        "name": name,
        "next_offset": report.next_offset,
        "runs": report.runs,
        "bytes": report.bytes,
        "base": base.and_then(Path::file_name).map(|name| name.to_string_lossy()),
        "linked": report.linked,
        "reused": report.reused,
        "copied": report.copied,
        "copied_bytes": report.copied_bytes,
    })
}

pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl From<CheckpointError> for Problem {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Exists { .. } => {
                Self::new(Code::BackupExists, "there is a backup of this name; choose another")
            }
            CheckpointError::Flush(error) => error.into(),
            other => internal(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_directory() {
        for name in ["a", "2026-11-22_1", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../a", "a\\b", "a.b", "a b", "é", "a\0", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}

//! `POST /v1/backup`: a checkpoint of the database under the one configured directory.

use std::path::PathBuf;

use kyro_engine::{CheckpointError, CheckpointReport};

use crate::admin::run;
use crate::answer::Answer;
use crate::call::Call;
use crate::engine_errors::internal;
use crate::fields::{FieldError, Object};
use crate::problem::{Code, Problem};
use crate::tasks::Kind;

/// Longest name of a backup.
const NAME_BYTES_MAX: usize = 64;

/// `POST /v1/backup`: `{"name":"…"}`. No path ever comes from a client: a name is one directory under the root.
pub(crate) async fn post(call: Call) -> Answer {
    let wait = call.query(&["wait"])?.truth("wait")?.unwrap_or(true);
    let (received, _, app, _) = call.read_body().await?;
    let object = Object::parse(&received.bytes, &["name"])?;
    let name = object.text("name")?.into_owned();
    if !is_name(&name) {
        let reason = "must be 1 to 64 letters, digits, `-` or `_`";
        return Err(FieldError::invalid("name", reason).into());
    }
    let Some(root) = app.backup_root.clone() else {
        let detail = "backups are off; start the server with --backup-root";
        return Err(Problem::new(Code::BackupsOff, detail));
    };
    let to: PathBuf = root.join(&name);
    let document = move |report: &CheckpointReport| {
        format!(
            "{{\"backup\":\"ok\",\"name\":\"{name}\",\"next_offset\":{},\"runs\":{},\"bytes\":{},\"linked\":{},\
             \"copied\":{}}}",
            report.next_offset, report.runs, report.bytes, report.linked, report.copied
        )
    };
    run(app, wait, Kind::Backup, None, move |engine| engine.checkpoint(&to), document).await
}

fn is_name(name: &str) -> bool {
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

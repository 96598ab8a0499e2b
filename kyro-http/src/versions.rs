//! `/v1/push`, `/v1/rollback`, `/v1/versions`: the whole content replaced in one step, and brought back.

use kyro_engine::{PushReport, Version, VersionError, VersionId};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::admin::run;
use crate::answer::{self, Answer};
use crate::app::App;
use crate::backup::is_name;
use crate::call::Call;
use crate::engine_errors::internal;
use crate::fields::{FieldError, Object, Query};
use crate::problem::{Code, Problem};
use crate::tasks::Kind;

/// `GET /v1/versions`
pub(crate) fn get(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::json(list(&app.engine()?.versions()).to_string()))
}

/// The versions as a document.
pub(crate) fn list(versions: &[Version]) -> Value {
    let versions = versions.iter().map(|version| {
        json!({
            "id": version.id.0,
            "label": version.label,
            "current": version.is_current,
            "since": version.since,
            "entries": version.entries,
            "bytes": version.bytes,
        })
    });
    json!({ "versions": versions.collect::<Vec<_>>() })
}

/// What a push or a rollback did.
pub(crate) fn document(report: &PushReport) -> Value {
    json!({
        "version": report.version.0,
        "offset": report.offset,
        "entries": report.entries,
        "bytes": report.bytes,
        "copied": report.copied,
        "writers_waited_seconds": report.writers_waited.as_secs_f64(),
    })
}

/// `POST /v1/push`: `{"name":"…","label":"…"}`. No path ever comes from a client: a name is one directory under the root.
pub(crate) async fn push(call: Call) -> Answer {
    let wait = call.query(&["wait"])?.truth("wait")?.unwrap_or(true);
    let (received, _, app, _) = call.read_body().await?;
    let object = Object::parse(&received.bytes, &["name", "label"])?;
    let name = object.text("name")?.into_owned();
    if !is_name(&name) {
        return Err(FieldError::invalid("name", "must be 1 to 64 letters, digits, `-` or `_`").into());
    }
    let label = if object.raw("label").is_ok() { object.text("label")?.into_owned() } else { name.clone() };
    let Some(root) = app.roots.data_sets.clone() else {
        let detail = "pushes are off; start the server with --push-root";
        return Err(Problem::new(Code::PushesOff, detail));
    };
    let dir = root.join(&name);
    if !dir.is_dir() {
        let detail = format!("there is no directory `{name}` under --push-root");
        return Err(Problem::new(Code::UnknownDataSet, detail));
    }
    let text = |report: &PushReport| document(report).to_string();
    run(app, wait, Kind::Push, None, move |engine, _| engine.push(&dir, &label), text).await
}

/// `POST /v1/rollback`: `{"version":N}`.
pub(crate) async fn rollback(call: Call) -> Answer {
    let wait = call.query(&["wait"])?.truth("wait")?.unwrap_or(true);
    let (received, _, app, _) = call.read_body().await?;
    let version = VersionId(Object::parse(&received.bytes, &["version"])?.u64("version")?);
    let text = |report: &PushReport| document(report).to_string();
    run(app, wait, Kind::Rollback, None, move |engine, _| engine.rollback(version), text).await
}

/// `DELETE /v1/versions/{id}`
pub(crate) async fn prune(call: Call) -> Answer {
    call.query(&[])?;
    let id = call.path_number("id")?;
    let engine = call.app.engine()?.clone();
    let pruned = spawn_blocking(move || engine.prune_version(VersionId(id))).await;
    let bytes = pruned.map_err(|error| internal(&error))??;
    Ok(answer::json(json!({ "pruned": id, "bytes": bytes }).to_string()))
}

impl From<VersionError> for Problem {
    fn from(error: VersionError) -> Self {
        match error {
            VersionError::NoSuchVersion { .. } => Self::new(Code::UnknownVersion, error.to_string()),
            VersionError::IsCurrent { .. } => Self::new(Code::CurrentVersion, error.to_string()),
            VersionError::Label { .. } => FieldError::invalid("label", error.to_string()).into(),
            VersionError::Maintenance(error) => error.into(),
            VersionError::Write(error) => error.into(),
            // The reason names files of the server: it is for its log, not for clients.
            VersionError::DataSet(_) | VersionError::NotADataSet { .. } => {
                tracing::warn!(error = kyro_engine::describe(&error), "a data set was not pushed");
                let detail = "the data set cannot be used: it is damaged, in use, or holds more than runs; \
                              nothing was changed, the server's log has the reason";
                Self::new(Code::UnusableDataSet, detail)
            }
            other => internal(&other),
        }
    }
}

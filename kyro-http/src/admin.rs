//! Work on the whole database: snapshot, compact, index build, warm-up; and what the server says of itself.

use std::sync::Arc;

use kyro_engine::{Engine, MaintenanceError};
use tokio::task::spawn_blocking;

use crate::answer::{self, Answer};
use crate::app::{App, Life};
use crate::build_info;
use crate::engine_errors::internal;
use crate::exposition;
use crate::fields::Query;
use crate::metrics::Stopwatch;
use crate::problem::{Code, Problem};

/// Runs long work of the engine on a thread of its own. It goes on when the client leaves.
async fn long<T: Send + 'static>(
    app: &App,
    query: Option<&str>,
    work: impl FnOnce(&Engine) -> Result<T, MaintenanceError> + Send + 'static,
) -> Result<T, Problem> {
    Query::parse(query, &[])?;
    let engine = app.engine()?.clone();
    let done = spawn_blocking(move || work(&engine)).await;
    Ok(done.map_err(|error| internal(&error))??)
}

/// `POST /v1/snapshot`
pub(crate) async fn snapshot(app: Arc<App>, query: Option<String>) -> Answer {
    let latency = Stopwatch::start(&app.metrics.snapshot_latency);
    let report = long(&app, query.as_deref(), Engine::flush).await?;
    latency.stop();
    Ok(answer::json(format!(
        "{{\"snapshot\":\"ok\",\"entries\":{},\"bytes\":{},\"through\":{},\"segments_removed\":{}}}",
        report.entries, report.bytes, report.through, report.segments_removed
    )))
}

/// `POST /v1/compact`
pub(crate) async fn compact(app: Arc<App>, query: Option<String>) -> Answer {
    let latency = Stopwatch::start(&app.metrics.compaction_duration);
    let report = long(&app, query.as_deref(), Engine::compact).await?;
    latency.stop();
    Ok(answer::json(format!(
        "{{\"compact\":\"ok\",\"stats\":{{\"before_bytes\":{},\"after_bytes\":{},\"segments_removed\":{},\
         \"segments_active\":{},\"keys_retained\":{}}}}}",
        report.before_bytes,
        report.after_bytes,
        report.segments_removed,
        report.segments_active,
        report.keys_retained
    )))
}

/// `POST /v1/rmi/build`
pub(crate) async fn build_index(app: Arc<App>, query: Option<String>) -> Answer {
    let latency = Stopwatch::start(&app.metrics.rmi_rebuild_duration);
    let report = long(&app, query.as_deref(), Engine::build_index).await?;
    latency.stop();
    Ok(answer::json(format!("{{\"ok\":true,\"count\":{}}}", report.keys)))
}

/// `POST /v1/warmup`
pub(crate) async fn warm_up(app: Arc<App>, query: Option<String>) -> Answer {
    let report = long(&app, query.as_deref(), Engine::warm_up).await?;
    Ok(answer::json(format!("{{\"status\":\"ok\",\"bytes\":{}}}", report.bytes)))
}

/// `GET /health`: 200 while the server can be used, 503 with the reason otherwise.
pub(crate) fn health(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    refuse_poisoned(app.engine()?)?;
    Ok(answer::json("{\"status\":\"ok\"}"))
}

/// `GET /livez`: the process answers.
pub(crate) fn livez(query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::json("{\"status\":\"ok\"}"))
}

/// `GET /readyz`: the server takes requests; 503 while it opens the database and while it stops.
pub(crate) fn readyz(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    if app.life() >= Life::Draining {
        return Err(Problem::new(Code::Draining, "the server is stopping").retry_after(1));
    }
    refuse_poisoned(app.engine()?)?;
    Ok(answer::json("{\"status\":\"ready\"}"))
}

/// The reason stands in the log and in answers to writes; a probe carries no token, so it is not told here.
fn refuse_poisoned(engine: &Engine) -> Result<(), Problem> {
    if engine.stats().poisoned.is_some() {
        let detail = "a storage failure made the server read-only; reads go on, only a restart clears it";
        return Err(Problem::new(Code::ReadOnly, detail));
    }
    Ok(())
}

/// `GET /metrics`
pub(crate) fn metrics(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    let text = app.exposition.text().map_err(|error| internal(&error))?;
    Ok(answer::with_type(exposition::CONTENT_TYPE, text))
}

/// `GET /build_info`
pub(crate) fn build_info(query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::json(format!(
        "{{\"commit\":\"{}\",\"features\":{:?},\"version\":\"{}\",\"rustc\":\"{}\",\"simd\":\"{}\"}}",
        build_info::COMMIT,
        build_info::FEATURES,
        build_info::VERSION,
        build_info::RUSTC,
        kyro_engine::simd_level(),
    )))
}

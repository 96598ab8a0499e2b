//! Work on the whole database: snapshot, compact, index build, warm-up; and what the server says of itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use kyro_engine::{CompactReport, Engine, FlushReport, IndexReport, MaintenanceError, WarmReport};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::answer::{self, Answer};
use crate::app::{App, Life};
use crate::body::Body;
use crate::build_info;
use crate::call::Call;
use crate::engine_errors::{internal, read_only};
use crate::exposition;
use crate::fields::Query;
use crate::histogram::Histogram;
use crate::metrics::Metrics;
use crate::problem::{Code, Problem};
use crate::tasks::{Kind, Task, Tasks};

/// Runs long work of the engine as a task (told of by a flag when nobody wants it any more), on a thread of its own: it goes on when the client leaves. `?wait=false`
/// answers at once with the task's number.
async fn long<T: Send + 'static>(
    call: Call,
    kind: Kind,
    histogram: Option<fn(&Metrics) -> &Histogram>,
    work: impl FnOnce(&Engine, &Arc<AtomicBool>) -> Result<T, MaintenanceError> + Send + 'static,
    document: impl FnOnce(&T) -> String + Send + 'static,
) -> Answer {
    let wait = call.query(&["wait"])?.truth("wait")?.unwrap_or(true);
    run(call.app, wait, kind, histogram, work, document).await
}

/// As [`long`], once the request is read.
pub(crate) async fn run<T: Send + 'static, E: Into<Problem> + 'static>(
    app: Arc<App>,
    wait: bool,
    kind: Kind,
    histogram: Option<fn(&Metrics) -> &Histogram>,
    work: impl FnOnce(&Engine, &Arc<AtomicBool>) -> Result<T, E> + Send + 'static,
    document: impl FnOnce(&T) -> String + Send + 'static,
) -> Answer {
    let engine = app.engine()?.clone();
    let running = app.tasks.begin(kind);
    let id = running.task().id;
    let metrics = Arc::clone(&app.metrics);
    let done = spawn_blocking(move || {
        let start = Instant::now();
        match work(&engine, &running.task().wish()) {
            Ok(report) => {
                if let Some(histogram) = histogram {
                    histogram(&metrics).observe(start.elapsed());
                }
                let text = document(&report);
                running.done(serde_json::from_str(&text).unwrap_or_default());
                Ok(text)
            }
            Err(error) => {
                let problem: Problem = error.into();
                if problem.code == Code::Cancelled {
                    running.cancelled(serde_json::Value::Null);
                } else {
                    running.failed(&problem.detail);
                }
                Err(problem)
            }
        }
    });
    if !wait {
        return Ok(accepted(id));
    }
    Ok(answer::json(done.await.map_err(|error| internal(&error))??))
}

/// The answer where a task goes on by itself: its number, and where it can be seen.
fn accepted(id: u64) -> Response<Body> {
    let mut response = answer::json(format!("{{\"task\":{id}}}"));
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/tasks/{id}")) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// `POST /v1/snapshot`
pub(crate) async fn snapshot(call: Call) -> Answer {
    let document = |report: &FlushReport| {
        format!(
            "{{\"snapshot\":\"ok\",\"entries\":{},\"bytes\":{},\"through\":{},\"segments_removed\":{}}}",
            report.entries, report.bytes, report.through, report.segments_removed
        )
    };
    long(call, Kind::Snapshot, None, Engine::flush_unless, document).await
}

/// `POST /v1/compact`
pub(crate) async fn compact(call: Call) -> Answer {
    let document = |report: &CompactReport| {
        format!(
            "{{\"compact\":\"ok\",\"stats\":{{\"before_bytes\":{},\"after_bytes\":{},\"segments_removed\":{},\
             \"segments_active\":{},\"keys_retained\":{}}}}}",
            report.before_bytes,
            report.after_bytes,
            report.segments_removed,
            report.segments_active,
            report.keys_retained
        )
    };
    long(call, Kind::Compact, None, Engine::compact_unless, document).await
}

/// `POST /v1/rmi/build`
pub(crate) async fn build_index(call: Call) -> Answer {
    let document = |report: &IndexReport| format!("{{\"ok\":true,\"count\":{}}}", report.keys);
    long(
        call,
        Kind::BuildIndex,
        Some(|metrics| &metrics.rmi_rebuild_duration),
        Engine::build_index_unless,
        document,
    )
    .await
}

/// `POST /v1/warmup`
pub(crate) async fn warm_up(call: Call) -> Answer {
    let document = |report: &WarmReport| format!("{{\"status\":\"ok\",\"bytes\":{}}}", report.bytes);
    long(call, Kind::WarmUp, None, Engine::warm_up_unless, document).await
}

/// `GET /v1/tasks`: what runs and what has ended, newest first.
pub(crate) fn tasks(app: &App, query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    let tasks: Vec<_> = app.tasks.all().iter().map(|task| task.document()).collect();
    Ok(answer::json(json!({ "tasks": tasks }).to_string()))
}

/// `GET /v1/tasks/{id}`
pub(crate) fn task(call: &Call) -> Answer {
    Ok(answer::json(find_task(call)?.document().to_string()))
}

/// `DELETE /v1/tasks/{id}`: asks it to stop; 202, as it stops at its next safe point.
pub(crate) fn cancel_task(call: &Call) -> Answer {
    let task = find_task(call)?;
    Tasks::cancel(&task).map_err(|why| Problem::new(Code::NotCancellable, why))?;
    let mut response = answer::json(task.document().to_string());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn find_task(call: &Call) -> Result<Arc<Task>, Problem> {
    call.query(&[])?;
    let id = call.path_number("id")?;
    call.app.tasks.find(id).ok_or_else(|| {
        Problem::new(
            Code::UnknownTask,
            "there is no task of this number; of those that ended only the last are kept",
        )
    })
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
        return Err(read_only(detail));
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

/// `GET /openapi.yaml`: the interface, for machines.
pub(crate) fn openapi(query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    Ok(answer::with_type("application/yaml", Bytes::from_static(include_bytes!("../openapi.yaml"))))
}

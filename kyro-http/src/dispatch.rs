//! From a route to its handler.

use std::future::{Future, ready};
use std::pin::Pin;

use hyper::Method;
use hyper::http::request::Parts;

use crate::answer::Answer;
use crate::app::App;
use crate::call::Call;
use crate::fields::{FieldError, path_number};
use crate::problem::{Code, Problem};
use crate::route::Route;
use crate::{
    admin, backup, batch, changes, cold, index_quality, kv, kv_resource, load_stream, mget, replay, scan,
    stats_document, subscribe, ui, versions,
};

/// Answers what is answered without waiting; `None` for everything else. The handler may take the request's headers.
/// `number` is what stands in the path, where that is one.
#[inline]
pub(crate) fn answer_now(app: &App, route: Route, number: Option<u64>, head: &mut Parts) -> Option<Answer> {
    if route.reads_one_key(&head.method) {
        return match number.map_or_else(|| key_of(route, head), Ok) {
            Ok(key) if app.engine().is_ok_and(|engine| !cold::is_at_hand(engine, key)) => None,
            key => Some(read_one(app, route, key, head)),
        };
    }
    answer_whole(app, route, head.uri.query())
}

/// Answers what is about no one key.
fn answer_whole(app: &App, route: Route, query: Option<&str>) -> Option<Answer> {
    Some(match route {
        Route::Offset => kv::next_offset(app, query),
        Route::Stats => stats_document::get(app, query),
        Route::Versions => versions::get(app, query),
        Route::Tasks => admin::tasks(app, query),
        Route::Health => admin::health(app, query),
        Route::Livez => admin::livez(query),
        Route::Readyz => admin::readyz(app, query),
        Route::Metrics => admin::metrics(app, query),
        Route::BuildInfo => admin::build_info(query),
        Route::Openapi => admin::openapi(query),
        Route::Ui => ui::get(query),
        _ => return None,
    })
}

/// The key that a request reads.
#[cold]
fn key_of(route: Route, head: &Parts) -> Result<u64, FieldError> {
    match route {
        Route::Lookup | Route::LookupRaw => kv::key_of_query(head.uri.query()),
        _ => path_number("key", Route::find(head.uri.path()).map_or("", |(_, key)| key)),
    }
}

#[inline]
fn read_one(app: &App, route: Route, key: Result<u64, FieldError>, head: &mut Parts) -> Answer {
    match route {
        Route::GetFast => kv::get_fast(app, key, head),
        Route::LookupFast => kv::lookup_fast(app, key, head),
        Route::Lookup => kv::lookup(app, head.uri.query()),
        Route::LookupRaw => kv::lookup_raw(app, head.uri.query()),
        _ => kv_resource::get(app, key, head),
    }
}

/// As [`answer_now`], for a key that is not in memory.
async fn read_cold(route: Route, call: Call) -> Answer {
    let key = key_of(route, &call.head)?;
    cold::read(call, key, move |app, head| read_one(app, route, Ok(key), head)).await
}

/// Answers everything else. Each handler is boxed by itself: what a put needs is a small part of what a load needs.
pub(crate) fn answer_later(route: Route, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
    if route.reads_one_key(&call.head.method) {
        return Box::pin(read_cold(route, call));
    }
    match (route, call.head.method.clone()) {
        (Route::Put, _) => Box::pin(kv::put(call)),
        (Route::Append, _) => Box::pin(kv::append(call)),
        (Route::Kv, Method::DELETE) => Box::pin(kv_resource::delete(call)),
        (Route::Kv, _) => Box::pin(kv_resource::put(call)),
        (Route::Batch, _) => Box::pin(batch::post(call)),
        (Route::Mget, _) => Box::pin(mget::post(call)),
        (Route::Load, _) => Box::pin(load_stream::post(call)),
        (Route::Scan, _) => Box::pin(ready(scan::get(call))),
        (Route::Count, _) => Box::pin(scan::count(call)),
        (Route::Select, _) => Box::pin(scan::select(call)),
        (Route::Range, _) => Box::pin(scan::delete_range(call)),
        (Route::Replay, Method::POST) => Box::pin(replay::post(call)),
        (Route::Replay, _) => Box::pin(replay::get(call)),
        (Route::Subscribe, _) => Box::pin(subscribe::get(call)),
        (Route::Changes, _) => Box::pin(changes::get(call)),
        (Route::Index, _) => Box::pin(index_quality::get(call)),
        (Route::RmiBuild, _) => Box::pin(admin::build_index(call)),
        (Route::Warmup, _) => Box::pin(admin::warm_up(call)),
        (Route::Snapshot, _) => Box::pin(admin::snapshot(call)),
        (Route::Compact, _) => Box::pin(admin::compact(call)),
        (Route::Backup, _) => Box::pin(backup::post(call)),
        (Route::Push, _) => Box::pin(versions::push(call)),
        (Route::Rollback, _) => Box::pin(versions::rollback(call)),
        (Route::Version, _) => Box::pin(versions::prune(call)),
        (Route::Task, Method::DELETE) => Box::pin(ready(admin::cancel_task(&call))),
        (Route::Task, _) => Box::pin(ready(admin::task(&call))),
        _ => Box::pin(ready(Err(Problem::new(Code::UnknownPath, "there is no such path")))),
    }
}

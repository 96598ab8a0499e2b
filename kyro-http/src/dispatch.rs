//! From a route to its handler.

use hyper::Method;
use hyper::http::request::Parts;

use crate::answer::Answer;
use crate::app::App;
use crate::call::Call;
use crate::fields::path_number;
use crate::problem::{Code, Problem};
use crate::route::Route;
use crate::{
    admin, backup, batch, changes, kv, kv_resource, load_stream, mget, replay, scan, stats_document,
    subscribe,
};

/// Answers what is answered without waiting; `None` for everything else. The handler may take the request's headers.
pub(crate) fn answer_now(app: &App, route: Route, head: &mut Parts) -> Option<Answer> {
    if let Route::GetFast | Route::LookupFast | Route::Kv = route {
        let key = Route::find(head.uri.path()).map_or("", |(_, key)| key);
        let key = path_number("key", key);
        return match route {
            Route::GetFast => Some(kv::get_fast(app, key, head)),
            Route::LookupFast => Some(kv::lookup_fast(app, key, head)),
            _ if [Method::GET, Method::HEAD].contains(&head.method) => Some(kv_resource::get(app, key, head)),
            _ => None,
        };
    }
    let query = head.uri.query();
    Some(match route {
        Route::Lookup => kv::lookup(app, query),
        Route::LookupRaw => kv::lookup_raw(app, query),
        Route::Offset => kv::next_offset(app, query),
        Route::Stats => stats_document::get(app, query),
        Route::Tasks => admin::tasks(app, query),
        Route::Health => admin::health(app, query),
        Route::Livez => admin::livez(query),
        Route::Readyz => admin::readyz(app, query),
        Route::Metrics => admin::metrics(app, query),
        Route::BuildInfo => admin::build_info(query),
        Route::Openapi => admin::openapi(query),
        _ => return None,
    })
}

/// Answers everything else.
pub(crate) async fn answer_later(route: Route, call: Call) -> Answer {
    match (route, call.head.method.clone()) {
        (Route::Put, _) => kv::put(call).await,
        (Route::Append, _) => kv::append(call).await,
        (Route::Kv, Method::DELETE) => kv_resource::delete(call).await,
        (Route::Kv, _) => kv_resource::put(call).await,
        (Route::Batch, _) => batch::post(call).await,
        (Route::Mget, _) => mget::post(call).await,
        (Route::Load, _) => load_stream::post(call).await,
        (Route::Scan, _) => scan::get(call),
        (Route::Count, _) => scan::count(call).await,
        (Route::Select, _) => scan::select(call).await,
        (Route::Range, _) => scan::delete_range(call).await,
        (Route::Replay, Method::POST) => replay::post(call).await,
        (Route::Replay, _) => replay::get(call).await,
        (Route::Subscribe, _) => subscribe::get(call).await,
        (Route::Changes, _) => changes::get(call).await,
        (Route::RmiBuild, _) => admin::build_index(call).await,
        (Route::Warmup, _) => admin::warm_up(call).await,
        (Route::Snapshot, _) => admin::snapshot(call).await,
        (Route::Compact, _) => admin::compact(call).await,
        (Route::Backup, _) => backup::post(call).await,
        (Route::Task, Method::DELETE) => admin::cancel_task(&call),
        (Route::Task, _) => admin::task(&call),
        _ => Err(Problem::new(Code::UnknownPath, "there is no such path")),
    }
}

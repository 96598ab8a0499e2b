//! `/v1/index`: how well the indexes predict, from a sample of keys that are looked up for it.

use kyro_engine::IndexQuality;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::engine_errors::internal;

/// Keys looked up in each run.
const SAMPLE: u64 = 2048;

/// `GET /v1/index`
pub(crate) async fn get(call: Call) -> Answer {
    call.query(&[])?;
    let engine = call.app.engine()?.clone();
    let runs =
        spawn_blocking(move || engine.index_quality(SAMPLE)).await.map_err(|error| internal(&error))??;
    let runs: Vec<Value> = runs.iter().map(run).collect();
    Ok(answer::json(json!({ "bounds": IndexQuality::BOUNDS, "runs": runs }).to_string()))
}

fn run(quality: &IndexQuality) -> Value {
    json!({
        "number": quality.run,
        "keys": quality.keys,
        "sampled": quality.counts.iter().sum::<u64>(),
        "counts": quality.counts,
    })
}

//! The targets that the server is held to.

use crate::http::results::{RateRow, Results};
use crate::http::source::Op;
use crate::limit::Limit;
use crate::report::Table;

/// Requests on their way on each connection where requests are pipelined.
pub(super) const PIPELINED: usize = 16;
/// Keys of a large mget.
pub(super) const MANY: usize = 1_000;

/// Each target with its figure.
pub(super) fn targets(results: &Results) -> Table {
    let mut table = Table::new(["target", "limit", "is", "met"]);
    let mut held = |what: &str, limit: Limit, figure: Option<f64>| {
        if let Some(figure) = figure {
            let met = if limit.is_met(figure) { "yes" } else { "NO" };
            table.row([what, &limit.to_string(), &format!("{figure:.2}"), met]);
        }
    };
    let row = |op: Op, depth: usize| -> Option<&RateRow> {
        results.rates.iter().find(|row| row.name.starts_with(op.title()) && row.depth == depth)
    };
    let over_bare = |op, depth| Some(row(op, depth)?.over_bare?.median);
    held("get_fast / bare hyper", Limit::AtLeast(0.9), over_bare(Op::GetFast, 1));
    held("lookup_fast / bare hyper", Limit::AtLeast(0.92), over_bare(Op::LookupFast, 1));
    held(
        "get_fast: depth 16 / depth 1",
        Limit::AtLeast(4.0),
        row(Op::GetFast, PIPELINED)
            .zip(row(Op::GetFast, 1))
            .map(|(deep, flat)| deep.per_second.median / flat.per_second.median),
    );
    held(
        "mget of 1,000 keys, binary: M keys/s",
        Limit::AtLeast(3.0),
        row(Op::Mget, 1).map(|row| row.per_second.median * row.keys as f64 / 1e6),
    );
    held(
        "durable puts over 64 connections / embedded with 64 writers",
        Limit::AtLeast(0.9),
        results.puts.as_ref().map(|puts| puts.ratio.median),
    );
    table
}

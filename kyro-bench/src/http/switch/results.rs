//! What came of it.

use std::fmt;

use serde::Serialize;

use crate::report::Table;
use crate::spread::Spread;

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Records of each data set.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests a second that were due.
    pub rate: f64,
    /// Kinds of reads, each left alone and while the content was switched.
    pub rows: Vec<Row>,
    /// The switches.
    pub switches: Switches,
}

/// One kind of reads.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Keys of a request.
    pub batch: usize,
    /// Whether the content was pushed and rolled back all the time.
    pub switching: bool,
    /// Answers of all repeats, all right.
    pub answers: u64,
    /// Answers a second.
    pub per_second: Spread,
    /// Microseconds from the time a request was due.
    pub p50_us: Spread,
    /// See [`Row::p50_us`].
    pub p99_us: Spread,
    /// See [`Row::p50_us`].
    pub p999_us: Spread,
    /// Of the answers of all repeats together.
    pub p999_of_all_us: f64,
    /// The longest of all.
    pub max_us: f64,
}

/// The switches, each with its milliseconds from the request to its answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Switches {
    /// Pushes: the data set is read and checked, then it is the content.
    pub pushes_ms: Vec<f64>,
    /// Rollbacks.
    pub rollbacks_ms: Vec<f64>,
}

impl Switches {
    pub(super) fn add(&mut self, mut more: Self) {
        self.pushes_ms.append(&mut more.pushes_ms);
        self.rollbacks_ms.append(&mut more.rollbacks_ms);
    }
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, value_bytes, connections, rate, rows, switches } = self;
        let heads =
            ["reads", "the content", "answers", "requests/s", "p50 µs", "p99", "p99.9", "of all", "most"];
        let mut table = Table::new(heads);
        for row in rows {
            table.row([
                if row.batch == 1 { "get_fast".to_owned() } else { format!("mget of {}", row.batch) },
                if row.switching { "switched all the time" } else { "left alone" }.to_owned(),
                row.answers.to_string(),
                format!("{:.0}", row.per_second.median),
                format!("{:.0}", row.p50_us.median),
                format!("{:.0}", row.p99_us.median),
                format!("{:.0} ({:.0} to {:.0})", row.p999_us.median, row.p999_us.least, row.p999_us.most),
                format!("{:.0}", row.p999_of_all_us),
                format!("{:.0}", row.max_us),
            ]);
        }
        writeln!(out, "{table}")?;
        writeln!(
            out,
            "p99.9: the median of the repeats, with least and most, then that of all their answers together. {records} records \
             of {value_bytes} B, {connections} connections, {rate:.0} requests/s due at random times; latencies count from \
             those. Server, client and switches share the processors.\n"
        )?;
        for (what, times) in [("pushes", &switches.pushes_ms), ("rollbacks", &switches.rollbacks_ms)] {
            if let Some(Spread { median, least, most }) = Spread::of(times) {
                writeln!(
                    out,
                    "- {} {what}, each {median:.0} ms until its answer ({least:.0} to {most:.0})",
                    times.len()
                )?;
            }
        }
        writeln!(
            out,
            "\nEvery answer was checked: it is of the content of its moment, after a switch never of the one before, and an \
             mget never mixes both."
        )
    }
}

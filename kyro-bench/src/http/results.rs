//! What the benchmark of the server found, and its tables.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::compare::Ratio;
use crate::http::targets::targets;
use crate::report::{Excluded, Table};
use crate::spread::Spread;

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latencies {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl From<&Histogram<u64>> for Latencies {
    fn from(nanos: &Histogram<u64>) -> Self {
        let us = |nanos: u64| nanos as f64 / 1e3;
        Self {
            p50: us(nanos.value_at_quantile(0.5)),
            p99: us(nanos.value_at_quantile(0.99)),
            p999: us(nanos.value_at_quantile(0.999)),
            max: us(nanos.max()),
        }
    }
}

impl Latencies {
    fn cells(&self) -> [String; 4] {
        [self.p50, self.p99, self.p999, self.max].map(|us| format!("{us:.0}"))
    }
}

/// Requests a second in closed loop.
#[derive(Clone, Debug, Serialize)]
pub struct RateRow {
    /// Which requests, of which server.
    pub name: String,
    /// Requests on their way on each connection.
    pub depth: usize,
    /// Keys of a request.
    pub keys: usize,
    /// Requests a second.
    pub per_second: Spread,
    /// The figure of each repeat.
    pub repeats: Vec<f64>,
    /// Microseconds of processor time of the server, a request.
    pub server_us: Spread,
    /// The same of the client.
    pub client_us: Spread,
    /// Latencies, all repeats together.
    pub latencies: Latencies,
    /// The bare twin's processor time a request over this, at the same depth, in the same repeats: what the ratio of rates
    /// would be if the server were never idle.
    pub bare_us_over: Option<Spread>,
    /// Requests a second over those of the bare twin at the same depth, in the same repeats.
    pub over_bare: Option<Spread>,
}

/// Latencies in open loop.
#[derive(Clone, Debug, Serialize)]
pub struct OpenLoopRow {
    /// Which requests, of which server.
    pub name: String,
    /// The rate, over the rate of the same requests in closed loop.
    pub share: f64,
    /// Requests a second that were due.
    pub asked: f64,
    /// Requests a second that were answered.
    pub answered: f64,
    /// Latencies from the time a request was due.
    pub latencies: Latencies,
}

/// Durable puts.
#[derive(Clone, Debug, Serialize)]
pub struct PutsRow {
    /// By which route.
    pub route: String,
    /// Connections, and embedded writers.
    pub writers: usize,
    /// Puts a second through the server.
    pub http: Spread,
    /// Puts a second of the embedded engine, its threads on the processor that the server has.
    pub embedded: Spread,
    /// The first over the second, repeat by repeat: like for like.
    pub ratio: Spread,
    /// Puts a second of the embedded engine with the client's processor as well.
    pub embedded_both: Spread,
    /// The server's over that, repeat by repeat.
    pub ratio_both: Spread,
    /// Puts a second if each cost the processor a request to bare hyper and then a put of the embedded engine.
    pub one_after_the_other: Option<f64>,
    /// Latencies through the server.
    pub latencies: Latencies,
}

/// Memory of idle connections.
#[derive(Clone, Debug, Serialize)]
pub struct IdleRow {
    /// Which server.
    pub server: String,
    /// Connections, each of which has had one answer.
    pub connections: usize,
    /// Bytes that each added to the server's resident memory.
    pub bytes_each: f64,
}

/// Everything found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// Records that the server holds.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Connections.
    pub connections: usize,
    /// Seconds of each timed run.
    pub seconds: f64,
    /// Timed runs of each row.
    pub repeats: usize,
    /// Processors of server and client.
    pub processors: (usize, usize),
    /// Closed loop.
    pub rates: Vec<RateRow>,
    /// Open loop.
    pub open_loop: Vec<OpenLoopRow>,
    /// Durable puts.
    pub puts: Option<PutsRow>,
    /// Idle connections.
    pub idle: Vec<IdleRow>,
    /// Ratios that later records are compared by: against bare hyper, and against the embedded engine.
    pub ratios: Vec<Ratio>,
    /// What has no figures, and why.
    pub excluded: Vec<Excluded>,
}

impl Results {
    /// Works out [`Results::ratios`] from the rows.
    pub(super) fn note_ratios(&mut self) {
        let bare = |depth| self.rates.iter().find(|row| row.depth == depth && row.name == "bare hyper");
        let rate = |row: &RateRow| {
            let bare = bare(row.depth).filter(|_| row.name != "bare hyper")?;
            let ratio = row.per_second.median / bare.per_second.median;
            Some(Ratio::new(format!("{}, depth {}, against bare hyper", row.name, row.depth), ratio))
        };
        let puts = self
            .puts
            .iter()
            .map(|puts| Ratio::new("durable puts against the embedded engine".to_owned(), puts.ratio.median));
        self.ratios = self.rates.iter().filter_map(rate).chain(puts).collect();
    }
}

#[expect(clippy::too_many_lines, reason = "one table after the other")]
impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, value_bytes, connections, seconds, repeats, processors, .. } = self;
        writeln!(
            out,
            "{records} records of {value_bytes} B in one compacted run, warm; the server on processor {}, the client on {}; \
             {connections} keep-alive connections. Medians of {repeats} interleaved runs of {seconds} s, ± half the range; \
             ratios are of runs of one repeat. Status and every byte of every answer were checked. *Bare hyper* answers \
             every request with the same 64 bytes, in a multi-threaded runtime with one worker, on the server's processor.\n",
            processors.0, processors.1
        )?;
        let mut table = Table::new([
            "closed loop",
            "depth",
            "requests/s",
            "keys/s",
            "server µs",
            "client µs",
            "p50 µs",
            "p99",
            "p99.9",
            "most",
            "over bare hyper",
            "by processor time",
        ]);
        for row in &self.rates {
            let keys = if row.keys == 1 {
                "–".to_owned()
            } else {
                format!("{:.2} M", row.per_second.median * row.keys as f64 / 1e6)
            };
            let ratio = |ratio: Option<Spread>| {
                ratio.map_or_else(
                    || "–".to_owned(),
                    |Spread { median, least, most }| format!("{median:.2} ({least:.2}–{most:.2})"),
                )
            };
            let mut cells = vec![
                row.name.clone(),
                row.depth.to_string(),
                row.per_second.to_string(),
                keys,
                format!("{:.2}", row.server_us.median),
                format!("{:.2}", row.client_us.median),
            ];
            cells.extend(row.latencies.cells());
            cells.extend([ratio(row.over_bare), ratio(row.bare_us_over)]);
            table.row(cells);
        }
        writeln!(out, "## requests a second\n\n{table}")?;
        if !self.open_loop.is_empty() {
            let mut table = Table::new([
                "open loop, from the time due",
                "share of closed loop",
                "due/s",
                "answered/s",
                "p50 µs",
                "p99",
                "p99.9",
                "most",
            ]);
            for row in &self.open_loop {
                let mut cells = vec![
                    row.name.clone(),
                    format!("{:.0} %", row.share * 100.0),
                    format!("{:.0}", row.asked),
                    format!("{:.0}", row.answered),
                ];
                cells.extend(row.latencies.cells());
                table.row(cells);
            }
            writeln!(
                out,
                "## latency at a given rate\n\nRequests are due at random times (Poisson); a late one counts from when it \
                 was due. At 100 % a queue grows without end, so those latencies tell of the length of the run too.\n\n{table}"
            )?;
        }
        if let Some(puts) = &self.puts {
            let mut table = Table::new([
                "puts, durability always",
                "puts/s",
                "p50 µs",
                "p99",
                "p99.9",
                "most",
                "over embedded",
            ]);
            let mut cells =
                vec![format!("{}, {} connections", puts.route, puts.writers), puts.http.to_string()];
            cells.extend(puts.latencies.cells());
            let Spread { median, least, most } = puts.ratio;
            cells.push(format!("{median:.2} ({least:.2}–{most:.2})"));
            table.row(cells);
            let over = |ratio: Spread| {
                let Spread { median, least, most } = ratio;
                format!("the server has {median:.2} of it ({least:.2}–{most:.2})")
            };
            for (name, rate, ratio) in [
                ("on the server's processor", puts.embedded, puts.ratio),
                ("on both processors", puts.embedded_both, puts.ratio_both),
            ] {
                let name = format!("embedded, {} writers, {name}", puts.writers);
                let none = String::new;
                table.row([name, rate.to_string(), none(), none(), none(), none(), over(ratio)]);
            }
            writeln!(
                out,
                "## durable puts\n\nThe embedded engine has its directory on the same file system. Like for like are its \
                 figures on the server's processor; with both it also has the one that the server's client takes.\n\n{table}"
            )?;
            if let Some(sum) = puts.one_after_the_other {
                writeln!(
                    out,
                    "\nIf each put cost what a request to bare hyper costs, and then what a put of the embedded engine costs: \
                     {sum:.0} a second; the server does {:.2} of that.\n",
                    puts.http.median / sum
                )?;
            }
        }
        if !self.idle.is_empty() {
            let mut table = Table::new(["idle connections", "connections", "bytes each"]);
            for row in &self.idle {
                table.row([
                    row.server.clone(),
                    row.connections.to_string(),
                    format!("{:.0}", row.bytes_each),
                ]);
            }
            writeln!(out, "## memory\n\n{table}")?;
        }
        let targets = targets(self);
        if !targets.is_empty() {
            writeln!(out, "## targets\n\n{targets}")?;
        }
        if !self.excluded.is_empty() {
            writeln!(out, "## not measured\n")?;
        }
        for Excluded { name, reason } in &self.excluded {
            writeln!(out, "- {name}: {reason}")?;
        }
        Ok(())
    }
}

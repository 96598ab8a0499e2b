//! The workload client: loads a server that runs somewhere, then reads from it, or does whatever else is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::engine::Size;
use crate::http::client::{Client, Load, LoadError, Measured, Source};
use crate::http::source::{Offsets, Once, Op, Pick, Requests, Target, Values};
use crate::http::watched::Watched;
use crate::kv::Entries;
use crate::report::Table;
use crate::zipf::Zipf;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server, as `http://host:port`.
    pub base: String,
    /// Its bearer token.
    pub token: Option<String>,
    /// Entries that are put first; none, and the reads take it that they are there.
    pub load: Option<u64>,
    /// Entries that are read, from the first on.
    pub records: u64,
    /// Bytes of each value, which are letters.
    pub value_bytes: usize,
    /// Connections that put.
    pub load_connections: usize,
    /// Connections that read.
    pub connections: usize,
    /// Requests on their way on each of them.
    pub depth: usize,
    /// How long is read.
    pub length: Duration,
    /// What is asked.
    pub op: Op,
    /// Keys of an mget.
    pub batch: usize,
    /// In 1,000 reads, so many of absent keys.
    pub misses: u64,
    /// Theta of Zipf's law; uniform without.
    pub zipf: Option<f64>,
    /// Requests a second; as fast as answers come without.
    pub rate: Option<f64>,
    /// Whether index and data are brought into memory before reading.
    pub warm: bool,
    /// Seed of keys, values and choices.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The server.
    pub base: String,
    /// What an acknowledged write means, as the server says; `unknown` of one that does not.
    pub durability: String,
    /// What was asked.
    pub op: Op,
    /// `uniform` or `zipf`, with its theta.
    pub dist: &'static str,
    /// See [`Outcome::dist`].
    pub theta: Option<f64>,
    /// `warm` or `cold`.
    pub regime: &'static str,
    /// How much data.
    #[serde(flatten)]
    pub size: Size,
    /// Connections, and requests on their way on each.
    pub connections: usize,
    /// See [`Outcome::connections`].
    pub depth: usize,
    /// Requests a second that were due, in open loop.
    pub rate: Option<f64>,
    /// Share of reads of absent keys.
    pub misses: f64,
    /// Puts a second while loading.
    pub load_per_second: Option<f64>,
    /// Answers, all right.
    pub answers: u64,
    /// Answers a second.
    pub per_second: f64,
    /// Keys a second, where a request has many.
    pub keys_per_second: f64,
    /// Microseconds: at the quantiles of the CSV's columns.
    pub p50_us: f64,
    /// See [`Outcome::p50_us`].
    pub p95_us: f64,
    /// See [`Outcome::p50_us`].
    pub p99_us: f64,
    /// See [`Outcome::p50_us`].
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// The whole distribution: quantile and microseconds.
    pub distribution: Vec<(f64, f64)>,
    /// Processor time of the client, microseconds a request.
    pub client_us: f64,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The server's address makes no sense.
    #[error("the base must be http://host:port, got {base:?}: {reason}")]
    Base {
        /// What was given.
        base: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's limit for one client was met.
    #[error(
        "{doing}: the server limits its clients; start it with KYRODB_RL_DATA_RPS=0, or ask for less with --rate"
    )]
    Limited {
        /// What was being done.
        doing: &'static str,
    },
    /// The server cannot be reached, or gave a wrong answer.
    #[error("{doing}")]
    Load {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: LoadError,
    },
}

/// The address of `http://host:port`.
///
/// # Errors
/// [`WorkloadError::Base`].
pub fn address(base: &str) -> Result<SocketAddr, WorkloadError> {
    let wrong = |reason: String| WorkloadError::Base { base: base.to_owned(), reason };
    let rest =
        base.strip_prefix("http://").ok_or_else(|| wrong("it does not start with http://".to_owned()))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.contains('/') {
        return Err(wrong("it has a path".to_owned()));
    }
    let with_port = if host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let addresses = with_port.to_socket_addrs().map_err(|error: io::Error| wrong(error.to_string()));
    addresses?.next().ok_or_else(|| wrong("the host has no address".to_owned()))
}

/// Does it; says before each part what comes.
///
/// # Errors
/// [`WorkloadError`]: the first answer that is not right ends it.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Outcome, WorkloadError> {
    let address = address(&plan.base)?;
    let target = Target::new(address, plan.token.as_deref());
    let entries = Entries { seed: plan.seed, value_bytes: plan.value_bytes };
    let values = Values::Letters;
    let load = |connections, depth, length, most| Load {
        address,
        connections,
        depth,
        length,
        warm_up: Duration::ZERO,
        rate: None,
        most,
        seed: plan.seed,
    };
    let send = |doing, load: &Load, source: &mut dyn Source| -> Result<Measured, WorkloadError> {
        let failed = |source| match source {
            LoadError::Wrong { status: 429, .. } => WorkloadError::Limited { doing },
            source => WorkloadError::Load { doing, source },
        };
        let mut client = Client::connect(address, load.connections).map_err(|error| failed(error.into()))?;
        let length = (load.most == u64::MAX).then_some(load.length);
        client.run(load, &mut Watched::new(source, doing, load.most, length)).map_err(failed)
    };

    let mut stats = Told { request: target.get("GET", "/v1/stats"), told: None };
    send("asking for its durability", &load(1, 1, A_DAY, 1), &mut stats)?;
    let durability = stats.told.unwrap_or_else(|| "unknown".to_owned());

    let mut offsets = Offsets::Unknown;
    let mut load_per_second = None;
    if let Some(count) = plan.load.filter(|&count| count > 0) {
        say(&format!("putting {count} entries"));
        let mut requests =
            Requests::new(target.clone(), Op::Put, entries, values, count, "load").picking(Pick::Next(0));
        let load = load(plan.load_connections, 1, A_DAY, count);
        let measured = send("loading", &load, &mut requests)?;
        load_per_second = Some(measured.per_second);
        if !matches!(plan.op, Op::Put | Op::KvPut | Op::Mixed) {
            offsets = Offsets::Known(BTreeMap::from_iter(requests.written));
        }
        for (path, what) in [("/v1/snapshot", "writing a run"), ("/v1/rmi/build", "building the index")] {
            say(what);
            let request = target.get("POST", path);
            send("preparing", &Load { most: 1, ..load }, &mut Once { request, status: 200 })?;
        }
    }
    if plan.warm {
        say("warming up");
        let request = target.get("POST", "/v1/warmup");
        send("warming up", &load(1, 1, A_DAY, 1), &mut Once { request, status: 200 })?;
    }
    let pick = match plan.zipf {
        _ if plan.op.writes() => Pick::Next(plan.records),
        None => Pick::Uniform,
        Some(theta) => Pick::Zipf(Box::new(Zipf::new(plan.records.max(1), theta))),
    };
    let mut requests = Requests::new(target, plan.op, entries, values, plan.records, "reads")
        .picking(pick)
        .missing(plan.misses)
        .with_offsets(offsets)
        .in_batches_of(plan.batch);
    say(&format!("{} for {:?}", plan.op.title(), plan.length));
    let warm_up = if plan.warm { plan.length / 10 } else { Duration::ZERO };
    let load = Load {
        warm_up,
        length: plan.length + warm_up,
        rate: plan.rate,
        ..load(plan.connections, plan.depth, plan.length, u64::MAX)
    };
    let measured = send("reading", &load, &mut requests)?;
    Ok(Outcome::new(plan, durability, &measured, load_per_second))
}

/// Asks a server for its durability.
struct Told {
    request: Vec<u8>,
    told: Option<String>,
}

impl Source for Told {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(&self.request);
        0
    }

    fn check(&mut self, _: u64, status: u16, body: &[u8]) -> Result<(), String> {
        // A token may be refused here and allowed to read; an older server does not say.
        let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        self.told = document["server"]["durability"].as_str().filter(|_| status == 200).map(str::to_owned);
        Ok(())
    }
}

/// For work that ends by a count.
const A_DAY: Duration = Duration::from_secs(86_400);

impl Outcome {
    fn new(plan: &Plan, durability: String, measured: &Measured, load_per_second: Option<f64>) -> Self {
        let us = |quantile| at(&measured.latencies, quantile);
        let keys = if plan.op == Op::Mget { plan.batch } else { 1 };
        Self {
            base: plan.base.clone(),
            durability,
            op: plan.op,
            dist: if plan.zipf.is_some() { "zipf" } else { "uniform" },
            theta: plan.zipf,
            regime: if plan.warm { "warm" } else { "cold" },
            size: Size { records: plan.records, value_bytes: plan.value_bytes },
            connections: plan.connections,
            depth: plan.depth,
            rate: plan.rate,
            misses: plan.misses as f64 / 1e3,
            load_per_second,
            answers: measured.answers,
            per_second: measured.per_second,
            keys_per_second: measured.per_second * keys as f64,
            p50_us: us(0.5),
            p95_us: us(0.95),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: us(1.0),
            distribution: [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0]
                .into_iter()
                .map(|quantile| (quantile, us(quantile)))
                .collect(),
            client_us: measured.client_us,
        }
    }

    /// The columns of a CSV file: those of the first KyroDB's client, then what it had none of.
    pub const CSV_COLUMNS: &str = "base,dist,regime,reads_total,rps,p50_us,p95_us,p99_us,p999_us,max_us,op,theta,records,\
                                   value_bytes,connections,depth,rate,misses,load_rps,keys_per_s,client_us";

    /// Its line, without a line feed.
    pub fn csv(&self) -> String {
        let optional = |number: Option<f64>| number.map(|number| format!("{number:.2}")).unwrap_or_default();
        let base = if self.base.contains([',', '"']) {
            format!("\"{}\"", self.base.replace('"', "\"\""))
        } else {
            self.base.clone()
        };
        let op = serde_json::to_value(self.op).ok();
        format!(
            "{base},{},{},{},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{},{},{},{},{},{},{},{},{},{:.1},{:.2}",
            self.dist,
            self.regime,
            self.answers,
            self.per_second,
            self.p50_us,
            self.p95_us,
            self.p99_us,
            self.p999_us,
            self.max_us,
            op.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default(),
            optional(self.theta),
            self.size.records,
            self.size.value_bytes,
            self.connections,
            self.depth,
            optional(self.rate),
            self.misses,
            optional(self.load_per_second),
            self.keys_per_second,
            self.client_us,
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rate) = self.load_per_second {
            writeln!(out, "Loaded at {rate:.0} puts/s, each acknowledged by the server.\n")?;
        }
        let mut table = Table::new([
            "",
            "keys",
            "regime",
            "requests",
            "requests/s",
            "keys/s",
            "p50 µs",
            "p95",
            "p99",
            "p99.9",
            "most",
        ]);
        let theta = self.theta.map(|theta| format!(" {theta}")).unwrap_or_default();
        table.row([
            format!("{}, {} × {}", self.op.title(), self.connections, self.depth),
            format!("{}{theta}, {}", self.dist, self.size),
            self.regime.to_owned(),
            self.answers.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.0}", self.keys_per_second),
            format!("{:.0}", self.p50_us),
            format!("{:.0}", self.p95_us),
            format!("{:.0}", self.p99_us),
            format!("{:.0}", self.p999_us),
            format!("{:.0}", self.max_us),
        ]);
        writeln!(out, "{table}")?;
        let due = match self.rate {
            Some(rate) => {
                format!("{rate:.0} requests/s were due at random times; latencies count from those")
            }
            None => "as fast as answers came; latencies count from sending".to_owned(),
        };
        writeln!(
            out,
            "Status and bytes of every answer were checked. {due}. The client took {:.1} µs of processor a request.\n",
            self.client_us
        )
    }
}

fn at(nanos: &Histogram<u64>, quantile: f64) -> f64 {
    nanos.value_at_quantile(quantile) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_read() {
        assert_eq!(address("http://127.0.0.1:8080").unwrap(), ([127, 0, 0, 1], 8080).into());
        assert_eq!(address("http://127.0.0.1/").unwrap(), ([127, 0, 0, 1], 80).into());
        for base in ["127.0.0.1:80", "https://127.0.0.1", "http://127.0.0.1:80/v1", "http://127.0.0.1:99999"]
        {
            assert!(address(base).is_err(), "{base}");
        }
    }
}

//! The plan of the benchmark, and how it runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hdrhistogram::Histogram;
use kyro_engine::Durability;

use crate::http::bare;
use crate::http::client::{Client, Load, LoadError, Measured, Source};
use crate::http::process::{Server, pin, pin_to, this_program};
use crate::http::results::{IdleRow, OpenLoopRow, PutsRow, RateRow, Results};
use crate::http::source::{Bare, Offsets, Once, Op, Pick, Requests, Target, Values};
use crate::http::targets::{MANY, PIPELINED};
use crate::kv::{Contender, Entries, Failure};
use crate::latency::histogram;
use crate::pages::Pages;
use crate::progress::Progress;
use crate::report::{Excluded, Report};
use crate::spread::Spread;
use crate::wal::writers;

/// Shares of the closed loop's rate at which latencies are measured.
const SHARES: [f64; 3] = [0.5, 0.8, 1.0];
/// Entries of a batch when the data is made.
const BATCH: u64 = 1_000;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory on the file system to be measured; everything is made below it and removed.
    pub dir: PathBuf,
    /// The server's program.
    pub server: PathBuf,
    /// Its processor.
    pub server_processor: usize,
    /// The client's.
    pub client_processor: usize,
    /// Records that the server holds.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Keep-alive connections.
    pub connections: usize,
    /// Connections of which the memory is measured.
    pub idle_connections: usize,
    /// Length of each timed run.
    pub length: Duration,
    /// Timed runs of each row.
    pub repeats: usize,
    /// Seed of keys and values.
    pub seed: u64,
}

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpBenchError {
    /// The server gave a wrong answer, or none.
    #[error("{doing}")]
    Load {
        /// What was being done.
        doing: String,
        /// What went wrong.
        source: LoadError,
    },
    /// The embedded engine failed.
    #[error("kyro-engine failed ({doing})")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Failure,
    },
    /// A server or the directory cannot be used.
    #[error("the benchmark's servers and files cannot be used")]
    Io(#[from] io::Error),
}

/// A row of the closed loop, before it is measured.
struct Contest {
    name: String,
    /// `None`: the bare twin.
    op: Option<Op>,
    depth: usize,
    keys: usize,
}

/// Repeats of one.
#[derive(Default)]
struct Repeats {
    rates: Vec<f64>,
    server_us: Vec<f64>,
    client_us: Vec<f64>,
    latencies: Option<Histogram<u64>>,
}

/// Both servers, and how they are asked.
struct Bench<'a> {
    plan: &'a Plan,
    entries: Entries,
    kyro: Server,
    bare: Server,
}

/// Runs the plan and reports.
///
/// # Errors
/// [`HttpBenchError`]. A route that is not there is listed in the report instead.
pub fn run(plan: &Plan) -> Result<Report<Results>, HttpBenchError> {
    let place = tempfile::Builder::new().prefix("kyro-bench-http-").tempdir_in(&plan.dir)?;
    let mut report = Report::start("HTTP server", Pages::Small);
    report.durability = Some("always".to_owned());
    let mut progress =
        Progress::new(1 + plan.repeats as u64 * 8 + 2 * SHARES.len() as u64 + plan.repeats as u64 + 2);
    let data = place.path().join("data");
    progress.say("filling the server's directory");
    let entries = Entries { seed: plan.seed, value_bytes: plan.value_bytes };
    fill(&data, entries, plan.records)
        .map_err(|source| HttpBenchError::Engine { doing: "filling", source })?;
    progress.step();
    let bench = Bench {
        plan,
        entries,
        kyro: Server::start(server(plan, &data), plan.server_processor)?,
        bare: Server::start(this_program([bare::COMMAND])?, plan.server_processor)?,
    };
    let mut results = Results {
        records: plan.records,
        value_bytes: plan.value_bytes,
        connections: plan.connections,
        seconds: plan.length.as_secs_f64(),
        repeats: plan.repeats,
        processors: (plan.server_processor, plan.client_processor),
        ..Results::default()
    };
    // The client has its processor for itself; the servers were started before and have the other.
    let measured = std::thread::scope(|scope| {
        let client = scope.spawn(|| -> Result<(), HttpBenchError> {
            pin(plan.client_processor)?;
            bench.closed_loop(&mut results, &mut progress)?;
            bench.open_loop(&mut results, &mut progress)?;
            bench.puts(place.path(), &mut results, &mut progress)?;
            bench.idle(&mut results, &mut progress)
        });
        client.join().unwrap_or_else(|_| Err(io::Error::other("the client panicked").into()))
    });
    measured?;
    report.note_memory();
    progress.finish();
    results.note_ratios();
    Ok(report.with(results))
}

/// The server's command: a port of its own, no rate limits, no log.
fn server(plan: &Plan, data: &Path) -> Command {
    let mut command = Command::new(&plan.server);
    command.arg("--data-dir").arg(data).args(["serve", "127.0.0.1", "0"]);
    let connections = (plan.idle_connections + 4 * plan.connections + 64).to_string();
    command.env("KYRODB_MAX_CONNECTIONS", &connections).env("KYRODB_MAX_CONNECTIONS_PER_IP", &connections);
    command.env("KYRODB_RL_DATA_RPS", "0").env("KYRODB_RL_ADMIN_RPS", "0").env("KYRODB_WARM_ON_START", "1");
    command.env("RUST_LOG", "warn").env("KYRODB_IDLE_TIMEOUT", "600");
    command
}

/// One compacted run; the offset of each entry is its number.
fn fill(dir: &Path, entries: Entries, records: u64) -> Result<(), Failure> {
    let store = Contender::Kyro.open(dir, Durability::Never)?;
    let batches = (0..records).step_by(BATCH as usize);
    store.load(entries, &mut batches.map(|start| start..(start + BATCH).min(records)))?;
    store.settle()?;
    store.close()
}

impl Bench<'_> {
    fn target(&self) -> Target {
        Target::new(self.kyro.address, None)
    }

    fn requests(&self, op: Op, stream: &str) -> Requests {
        Requests::new(self.target(), op, self.entries, Values::Bytes, self.plan.records, stream)
            .with_offsets(Offsets::AsNumbered)
            .in_batches_of(MANY)
    }

    fn load(&self, server: &Server) -> Load {
        let Plan { connections, length, seed, .. } = *self.plan;
        let warm_up = length / 10;
        let (depth, rate, most) = (1, None, u64::MAX);
        Load {
            address: server.address,
            connections,
            depth,
            length: length + warm_up,
            warm_up,
            rate,
            most,
            seed,
        }
    }

    fn run_load(what: &str, load: &Load, source: &mut dyn Source) -> Result<Measured, HttpBenchError> {
        let failed = |source| HttpBenchError::Load { doing: what.to_owned(), source };
        let mut client =
            Client::connect(load.address, load.connections).map_err(|error| failed(error.into()))?;
        client.run(load, source).map_err(failed)
    }

    /// Whether a request about an entry that is there gets an answer that is right.
    fn answers(&self, op: Op) -> Result<(), LoadError> {
        let load = Load { connections: 1, most: 1, warm_up: Duration::ZERO, ..self.load(&self.kyro) };
        Client::connect(load.address, 1)?.run(&load, &mut self.requests(op, "probe")).map(|_| ())
    }

    fn closed_loop(&self, results: &mut Results, progress: &mut Progress) -> Result<(), HttpBenchError> {
        let contest = |op: Option<Op>, depth| Contest {
            name: op.map_or("bare hyper", Op::title).to_owned(),
            keys: if op == Some(Op::Mget) { MANY } else { 1 },
            op,
            depth,
        };
        let mut contests = vec![
            contest(None, 1),
            contest(Some(Op::GetFast), 1),
            contest(Some(Op::LookupFast), 1),
            contest(Some(Op::Kv), 1),
            contest(Some(Op::Mget), 1),
            contest(None, PIPELINED),
            contest(Some(Op::GetFast), PIPELINED),
        ];
        let mut missing = Vec::new();
        contests.retain(|contest| match contest.op.map_or(Ok(()), |op| self.answers(op)) {
            Ok(()) => true,
            Err(error) => {
                missing.push(Excluded { name: contest.name.clone(), reason: error.to_string() });
                false
            }
        });
        results.excluded.append(&mut missing);
        let mut found: BTreeMap<usize, Repeats> = BTreeMap::new();
        for repeat in 0..self.plan.repeats {
            // Everyone is first once: a trend within a repeat favours nobody.
            for turn in 0..contests.len() {
                let index = (repeat + turn) % contests.len();
                let contest = &contests[index];
                progress.say(&format!("repeat {}: {}, depth {}", repeat + 1, contest.name, contest.depth));
                let server = if contest.op.is_some() { &self.kyro } else { &self.bare };
                let load = Load { depth: contest.depth, ..self.load(server) };
                let before = server.processor_time()?;
                let measured = match contest.op {
                    Some(op) => {
                        let mut requests = self.requests(op, &format!("repeat {repeat}"));
                        Self::run_load(&contest.name, &load, &mut requests)?
                    }
                    None => Self::run_load(&contest.name, &load, &mut Bare::new(&self.target()))?,
                };
                let server_time = server.processor_time()?.saturating_sub(before);
                // The warm-up took its share of the processor and is not among the answers.
                let all =
                    measured.answers as f64 * load.length.as_secs_f64() / self.plan.length.as_secs_f64();
                let repeats = found.entry(index).or_default();
                repeats.rates.push(measured.per_second);
                repeats.server_us.push(server_time.as_secs_f64() * 1e6 / all.max(1.0));
                repeats.client_us.push(measured.client_us * measured.answers as f64 / all.max(1.0));
                match &mut repeats.latencies {
                    // Both have three digits and grow by themselves.
                    Some(latencies) => latencies.add(&measured.latencies).map_err(io::Error::other)?,
                    none => *none = Some(measured.latencies),
                }
                progress.step();
            }
        }
        let bare: BTreeMap<usize, (Vec<f64>, Vec<f64>)> = contests
            .iter()
            .enumerate()
            .filter(|(_, contest)| contest.op.is_none())
            .filter_map(|(index, contest)| {
                let repeats = found.get(&index)?;
                Some((contest.depth, (repeats.rates.clone(), repeats.server_us.clone())))
            })
            .collect();
        for (index, repeats) in found {
            let Contest { name, op, depth, keys } = &contests[index];
            let bare = bare.get(depth).filter(|_| op.is_some() && *keys == 1);
            let ratio = |over: &[f64], under: &[f64]| {
                Spread::of(&over.iter().zip(under).map(|(over, under)| over / under).collect::<Vec<_>>())
            };
            let over_bare = bare.and_then(|(rates, _)| ratio(&repeats.rates, rates));
            let bare_us_over = bare.and_then(|(_, us)| ratio(us, &repeats.server_us));
            let spreads = Spread::of(&repeats.rates)
                .zip(Spread::of(&repeats.server_us))
                .zip(Spread::of(&repeats.client_us));
            let (Some(((per_second, server_us), client_us)), Some(latencies)) = (spreads, &repeats.latencies)
            else {
                continue;
            };
            results.rates.push(RateRow {
                name: name.clone(),
                depth: *depth,
                keys: *keys,
                per_second,
                repeats: repeats.rates,
                server_us,
                client_us,
                latencies: latencies.into(),
                bare_us_over,
                over_bare,
            });
        }
        Ok(())
    }

    fn open_loop(&self, results: &mut Results, progress: &mut Progress) -> Result<(), HttpBenchError> {
        for op in [None, Some(Op::GetFast)] {
            let name = op.map_or("bare hyper", Op::title);
            let Some(row) = results.rates.iter().find(|row| row.name == name && row.depth == 1) else {
                continue;
            };
            let closed = row.per_second.median;
            for share in SHARES {
                progress.say(&format!("{name}, open loop at {:.0} %", share * 100.0));
                let server = if op.is_some() { &self.kyro } else { &self.bare };
                let load = Load { rate: Some(closed * share), ..self.load(server) };
                let measured = match op {
                    Some(op) => Self::run_load(name, &load, &mut self.requests(op, "open loop"))?,
                    None => Self::run_load(name, &load, &mut Bare::new(&self.target()))?,
                };
                results.open_loop.push(OpenLoopRow {
                    name: name.to_owned(),
                    share,
                    asked: closed * share,
                    answered: measured.per_second,
                    latencies: (&measured.latencies).into(),
                });
                progress.step();
            }
        }
        Ok(())
    }

    /// Durable puts through the server and into an embedded engine, in turns.
    fn puts(
        &self,
        place: &Path,
        results: &mut Results,
        progress: &mut Progress,
    ) -> Result<(), HttpBenchError> {
        let writers = self.plan.connections;
        let values = Values::Letters;
        // A range of numbers of its own: the records stay as they are.
        let mut next = 1 << 32;
        let mut write = |op: Op, load: &Load| {
            let mut requests =
                Requests::new(self.target(), op, self.entries, values, 1, "puts").picking(Pick::Next(next));
            let measured = Self::run_load(op.title(), load, &mut requests)?;
            next += requests.written.len() as u64 + load.connections as u64;
            Ok::<_, HttpBenchError>((measured, requests.written))
        };
        let probe = Load { connections: 1, most: 1, warm_up: Duration::ZERO, ..self.load(&self.kyro) };
        let op = if write(Op::KvPut, &probe).is_ok() { Op::KvPut } else { Op::Put };
        let (mut http, mut embedded, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let (mut embedded_both, mut ratios_both) = (Vec::new(), Vec::new());
        let (one, two) = (self.plan.server_processor, self.plan.client_processor);
        let mut latencies = histogram();
        for repeat in 0..self.plan.repeats {
            progress.say(&format!("repeat {}: durable puts", repeat + 1));
            let (measured, written) = write(op, &self.load(&self.kyro))?;
            latencies.add(&measured.latencies).map_err(io::Error::other)?;
            self.read_back(&written, values)?;
            http.push(measured.per_second);
            for (processors, rates, ratios) in [
                (&[one][..], &mut embedded, &mut ratios),
                (&[one, two], &mut embedded_both, &mut ratios_both),
            ] {
                let dir = place.join(format!("embedded-{}-{repeat}", processors.len()));
                let rate = self
                    .embedded(&dir, writers, processors)
                    .map_err(|source| HttpBenchError::Engine { doing: "embedded puts", source })?;
                rates.push(rate);
                ratios.push(measured.per_second / rate);
            }
            progress.step();
        }
        let alike = Spread::of(&http).zip(Spread::of(&embedded)).zip(Spread::of(&ratios));
        let both = Spread::of(&embedded_both).zip(Spread::of(&ratios_both));
        let bare = results.rates.iter().find(|row| row.name == "bare hyper" && row.depth == 1);
        let bare = bare.map(|row| row.per_second.median);
        results.puts =
            alike.zip(both).map(|(((http, embedded), ratio), (embedded_both, ratio_both))| PutsRow {
                route: op.title().to_owned(),
                writers,
                http,
                embedded,
                ratio,
                embedded_both,
                ratio_both,
                one_after_the_other: bare.map(|bare| 1.0 / (1.0 / bare + 1.0 / embedded.median)),
                latencies: (&latencies).into(),
            });
        Ok(())
    }

    /// Every tenth of what was acknowledged is there, with the offset that was acknowledged.
    fn read_back(&self, written: &[(u64, u64)], values: Values) -> Result<(), HttpBenchError> {
        for op in [Op::GetFast, Op::LookupFast] {
            for &(number, offset) in written.iter().step_by((written.len() / 100).max(1)) {
                let mut offsets = BTreeMap::new();
                offsets.insert(number, offset);
                let mut requests = Requests::new(self.target(), op, self.entries, values, 1, "read back")
                    .picking(Pick::Next(number))
                    .with_offsets(Offsets::Known(offsets));
                let load = Load { connections: 1, most: 1, warm_up: Duration::ZERO, ..self.load(&self.kyro) };
                Self::run_load("reading back what was put", &load, &mut requests)?;
            }
        }
        Ok(())
    }

    /// Puts a second of the engine, with all threads on these processors.
    fn embedded(&self, dir: &Path, threads: usize, processors: &[usize]) -> Result<f64, Failure> {
        let work = || -> Result<f64, Failure> {
            pin_to(processors)?;
            let store = Contender::Kyro.open(dir, Durability::Always)?;
            writers::put(&*store, self.entries, 0, threads, self.plan.length / 10)?;
            let written = writers::put(&*store, self.entries, 1 << 33, threads, self.plan.length)?;
            crate::kv::verify(&*store, self.entries, (1 << 33)..written.end)?;
            store.close()?;
            Ok(written.puts_per_second)
        };
        std::thread::scope(|scope| {
            scope.spawn(work).join().unwrap_or_else(|_| Err("a writer panicked".into()))
        })
    }

    /// What connections cost that have had an answer and ask for nothing.
    fn idle(&self, results: &mut Results, progress: &mut Progress) -> Result<(), HttpBenchError> {
        let connections = self.plan.idle_connections;
        for (name, server) in [("bare hyper", &self.bare), ("kyro-http", &self.kyro)] {
            progress.say(&format!("{connections} idle connections to {name}"));
            let before = server.resident_bytes()?;
            let failed =
                |source| HttpBenchError::Load { doing: format!("idle connections to {name}"), source };
            let mut client =
                Client::connect(server.address, connections).map_err(|error| failed(error.into()))?;
            let most = connections as u64;
            let load = Load { connections, most, warm_up: Duration::ZERO, ..self.load(server) };
            let mut request = self.target().get("GET", "/livez");
            if name == "bare hyper" {
                request = self.target().get("GET", "/");
            }
            client.run(&load, &mut Once { request, status: 200 }).map_err(failed)?;
            let after = server.resident_bytes()?;
            let bytes_each = after.saturating_sub(before) as f64 / connections as f64;
            results.idle.push(IdleRow { server: name.to_owned(), connections, bytes_each });
            progress.step();
        }
        Ok(())
    }
}

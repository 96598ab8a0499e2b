//! Reads while the whole content is replaced, again and again: a push, a rollback, a prune, without a pause.
//!
//! Two data sets have the same keys and other values. Every answer must be the value of the one or the other, as the
//! moments of sending and answering allow: outside of a switch the one that is the content, within it the old one until a
//! read has seen the new one, and all values of an mget from one of them. Latencies are of an open loop, and stand beside
//! those of the same server with nothing to switch, measured in turn.

mod reads;
mod results;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kyro_engine::{BulkBuild, BulkError, BulkOptions};

use crate::http::client::{Client, Load, LoadError, Measured, Source};
use crate::http::process::Server;
use crate::http::source::{Once, Target};
use crate::kv::Entries;
use crate::latency::histogram;
use crate::pages::Pages;
use crate::progress::Progress;
use crate::report::Report;
use crate::spread::Spread;
use reads::{Content, Phase, Reads};
pub use results::{Results, Row, Switches};

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A directory on the file system to be measured; everything is made below it and removed.
    pub dir: PathBuf,
    /// The server's program.
    pub server: PathBuf,
    /// Records of each data set.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests a second.
    pub rate: f64,
    /// Keys of an mget.
    pub batch: usize,
    /// Length of each timed run.
    pub length: Duration,
    /// Timed runs of each row.
    pub repeats: usize,
    /// Seed of keys and values.
    pub seed: u64,
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// A read failed, or was answered with what it must not be answered with.
    #[error("reading")]
    Read(#[source] LoadError),
    /// The server did not switch.
    #[error("{doing}")]
    Switch {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: LoadError,
    },
    /// A data set was not built.
    #[error("a data set was not built")]
    Build(#[from] BulkError),
    /// The server or the directory cannot be used.
    #[error("the server and its files cannot be used")]
    Io(#[from] io::Error),
}

/// The data set that is pushed.
const PUSHED: &str = "pushed";

/// Runs the plan and reports.
///
/// # Errors
/// [`SwitchError`]: the first answer that is not right ends it.
pub fn run(plan: &Plan) -> Result<Report<Results>, SwitchError> {
    let place = tempfile::Builder::new().prefix("kyro-bench-switch-").tempdir_in(&plan.dir)?;
    let mut report = Report::start("Reads during push and rollback", Pages::Small);
    report.durability = Some("always".to_owned());
    let rows = [(1, false), (1, true), (plan.batch, false), (plan.batch, true)];
    let mut progress = Progress::new(2 + (plan.repeats * rows.len()) as u64);
    let entries = Entries { seed: plan.seed, value_bytes: plan.value_bytes };
    let (data, sets) = (place.path().join("data"), place.path().join("sets"));
    std::fs::create_dir(&sets)?;
    for (dir, content) in [(&data, Content::First), (&sets.join(PUSHED), Content::Pushed)] {
        progress.say("building the data sets");
        build(dir, entries, plan.records, content)?;
        progress.step();
    }
    let mut command = Command::new(&plan.server);
    // Of its limits for clients none is to be measured.
    command.env("KYRODB_RL_DATA_RPS", "0").env("KYRODB_RL_ADMIN_RPS", "0").env("RUST_LOG", "error");
    command.args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(&data).arg("--push-root").arg(&sets);
    let server = Server::start_anywhere(command)?;

    let bench = Bench { plan, entries, target: Target::new(server.address, None), server: &server };
    let mut measured: Vec<Repeats> = rows.iter().map(|_| Repeats::default()).collect();
    let mut switches = Switches::default();
    for _ in 0..plan.repeats {
        for (row, &(batch, switching)) in rows.iter().enumerate() {
            progress.say(if switching { "reading while versions change" } else { "reading" });
            let (run, done) = bench.one(batch, switching)?;
            measured[row].add(&run);
            switches.add(done);
            progress.step();
        }
    }
    progress.finish();
    let rows = rows.iter().zip(measured).map(|(&(batch, switching), repeats)| repeats.row(batch, switching));
    Ok(report.with(Results {
        records: plan.records,
        value_bytes: plan.value_bytes,
        connections: plan.connections,
        rate: plan.rate,
        rows: rows.flatten().collect(),
        switches,
    }))
}

/// Makes the database of one of the contents.
fn build(dir: &Path, entries: Entries, records: u64, content: Content) -> Result<(), BulkError> {
    let mut keys: Vec<u64> = (0..records).map(|number| entries.key(number)).collect();
    keys.sort_unstable();
    let mut build = BulkBuild::create(dir, BulkOptions::default())?;
    let mut value = Vec::new();
    for key in keys {
        content.fill(entries, key, &mut value);
        build.push(key, &value)?;
    }
    build.finish().map(|_| ())
}

/// Runs of one row.
#[derive(Default)]
struct Repeats {
    runs: Vec<Measured>,
}

impl Repeats {
    fn add(&mut self, run: &Measured) {
        self.runs.push(run.clone());
    }

    /// The row; nothing where there was no run.
    fn row(&self, batch: usize, switching: bool) -> Option<Row> {
        let of =
            |figure: &dyn Fn(&Measured) -> f64| Spread::of(&self.runs.iter().map(figure).collect::<Vec<_>>());
        let at = |quantile: f64| of(&|run| run.latencies.value_at_quantile(quantile) as f64 / 1e3);
        let mut all = histogram();
        for run in &self.runs {
            // All have the same bounds.
            all.add(&run.latencies).ok();
        }
        Some(Row {
            batch,
            switching,
            answers: self.runs.iter().map(|run| run.answers).sum(),
            per_second: of(&|run| run.per_second)?,
            p50_us: at(0.5)?,
            p99_us: at(0.99)?,
            p999_us: at(0.999)?,
            p999_of_all_us: all.value_at_quantile(0.999) as f64 / 1e3,
            max_us: all.max() as f64 / 1e3,
        })
    }
}

struct Bench<'a> {
    plan: &'a Plan,
    entries: Entries,
    target: Target,
    server: &'a Server,
}

impl Bench<'_> {
    /// One timed run. The content is the first one before and after it.
    fn one(&self, batch: usize, switching: bool) -> Result<(Measured, Switches), SwitchError> {
        let phase = Arc::new(Phase::new(0));
        let mut reads = Reads::new(&self.target, self.entries, self.plan.records, batch, Arc::clone(&phase));
        let warm_up = self.plan.length / 10;
        let load = Load {
            address: self.server.address,
            connections: self.plan.connections,
            depth: 1,
            length: self.plan.length + warm_up,
            warm_up,
            rate: Some(self.plan.rate),
            most: u64::MAX,
            seed: self.plan.seed,
        };
        let mut client = Client::connect(load.address, load.connections)?;
        if !switching {
            return Ok((client.run(&load, &mut reads).map_err(SwitchError::Read)?, Switches::default()));
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let switcher = scope.spawn(|| self.switch_until(&over, &phase));
            let run = client.run(&load, &mut reads).map_err(SwitchError::Read);
            over.store(true, Ordering::SeqCst);
            let done = switcher.join().unwrap_or_else(|_| {
                Err(SwitchError::Io(io::Error::other("the thread that switches panicked")))
            });
            // What a read found is worth more than what the switching ended with.
            let run = run?;
            Ok((run, done?))
        })
    }

    /// Pushes, rolls back and prunes until told to stop; always once, and to the end.
    fn switch_until(&self, over: &AtomicBool, phase: &Phase) -> Result<Switches, SwitchError> {
        let mut client = Client::connect(self.server.address, 1)?;
        let mut ask = |doing, method: &str, path: &str, body: &str| -> Result<Version, SwitchError> {
            let mut request = self.target.get(method, path);
            if !body.is_empty() {
                request = self.target.with_json(method, path, body);
            }
            let mut version = Version { once: Once { request, status: 200 }, id: 0 };
            let load = Load {
                address: self.server.address,
                connections: 1,
                depth: 1,
                length: Duration::from_secs(86_400),
                warm_up: Duration::ZERO,
                rate: None,
                most: 1,
                seed: 0,
            };
            client.run(&load, &mut version).map_err(|source| SwitchError::Switch { doing, source })?;
            Ok(version)
        };
        let mut switches = Switches::default();
        loop {
            let started = Instant::now();
            phase.fetch_add(1, Ordering::SeqCst);
            let pushed = ask("pushing", "POST", "/v1/push", &format!("{{\"name\":\"{PUSHED}\"}}"))?.id;
            phase.fetch_add(1, Ordering::SeqCst);
            switches.pushes_ms.push(started.elapsed().as_secs_f64() * 1e3);
            let started = Instant::now();
            phase.fetch_add(1, Ordering::SeqCst);
            ask("rolling back", "POST", "/v1/rollback", "{\"version\":0}")?;
            phase.fetch_add(1, Ordering::SeqCst);
            switches.rollbacks_ms.push(started.elapsed().as_secs_f64() * 1e3);
            ask("pruning", "DELETE", &format!("/v1/versions/{pushed}"), "")?;
            if over.load(Ordering::SeqCst) {
                return Ok(switches);
            }
        }
    }
}

/// A request about versions, and the version that its answer names.
struct Version {
    once: Once,
    id: u64,
}

impl Source for Version {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        self.once.request(out)
    }

    fn check(&mut self, number: u64, status: u16, body: &[u8]) -> Result<(), String> {
        self.once.check(number, status, body)?;
        let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        self.id = document["version"].as_u64().unwrap_or_default();
        Ok(())
    }
}

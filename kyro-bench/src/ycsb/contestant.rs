//! The side of the benchmark: a store's process, told what to run, and listened to.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use clap::ValueEnum;

use crate::kv::Contender;
use crate::ycsb::child::{COMMAND, Finished, Loaded, Order, Ran, Reply};
use crate::ycsb::run::Plan;
use crate::ycsb::workload::Mode;

/// A store that takes part.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) contender: Contender,
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    dir: PathBuf,
}

impl Contestant {
    /// Starts the process and waits until it has loaded its store.
    pub(super) fn start(
        plan: &Plan,
        contender: Contender,
        mode: Mode,
        place: &Path,
    ) -> Result<(Self, Loaded), String> {
        let dir = place.join(format!("{}-{}", contender.name(), mode.name()));
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let failed = |error: std::io::Error| format!("its process cannot be started: {error}");
        let mut child = Command::new(&plan.program)
            .arg(COMMAND)
            .args(["--store", &name(&|| contender.to_possible_value())])
            .args(["--durability", &name(&|| mode.to_possible_value())])
            .args(["--records", &plan.records.to_string(), "--value-bytes", &plan.value_bytes.to_string()])
            .args(["--seed", &plan.seed.to_string(), "--dir"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let orders = child.stdin.take();
        let replies = child.stdout.take().ok_or("its process has no output")?;
        let mut contestant = Self { contender, child, orders, replies: BufReader::new(replies), dir };
        match contestant.reply()? {
            Reply::Loaded(loaded) => Ok((contestant, loaded)),
            other => Err(format!("it said {other:?} when it should have loaded")),
        }
    }

    /// One run.
    pub(super) fn run(&mut self, order: Order) -> Result<Ran, String> {
        let line = serde_json::to_string(&order).map_err(|error| error.to_string())?;
        let orders = self.orders.as_mut().ok_or("it was told to end")?;
        // A process that has ended is asked for its last words.
        let told = writeln!(orders, "{line}").and_then(|()| orders.flush());
        match (self.reply()?, told) {
            (Reply::Ran(ran), Ok(())) => Ok(ran),
            (other, _) => Err(format!("it said {other:?} after a run")),
        }
    }

    /// The end of it: the store is closed, opened again and compared.
    pub(super) fn finish(mut self) -> Result<Finished, String> {
        drop(self.orders.take());
        let finished = match self.reply()? {
            Reply::Finished(finished) => finished,
            other => return Err(format!("it said {other:?} at the end")),
        };
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(finished) } else { Err(format!("its process ended with {status}")) }
    }

    fn reply(&mut self) -> Result<Reply, String> {
        let mut line = String::new();
        self.replies.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            let status = self.child.wait().map_err(|error| error.to_string())?;
            return Err(format!("its process ended with {status}"));
        }
        match serde_json::from_str(&line).map_err(|error| format!("it said {line:?}: {error}"))? {
            Reply::Failed(reason) => Err(reason),
            reply => Ok(reply),
        }
    }
}

/// Whatever happens, no process is left, and no files.
impl Drop for Contestant {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

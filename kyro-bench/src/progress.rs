//! Progress of long work: a bar for a person, log lines for everything else.
#![expect(clippy::print_stderr, reason = "progress goes to standard error, results to standard output")]

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Log lines come at most this often, and at the start and the end.
const LOG_EVERY: Duration = Duration::from_secs(2);

/// A bar on standard error, if that is a terminal; nothing otherwise. It is removed in the end.
#[derive(Debug)]
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar of `steps` steps with a text before it.
    pub fn new(steps: u64, what: &str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:40} {elapsed} (left {eta}) {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(steps).with_style(style).with_prefix(what.to_owned())
        }))
    }

    /// So many steps are done; `what` comes behind the bar.
    pub fn show(&self, done: u64, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The progress of one piece of work with a known number of steps.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: u64,
    done: u64,
    started: Instant,
    logged: Option<Instant>,
}

impl Progress {
    /// Work of `steps` steps.
    pub fn new(steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed} (left {eta}) {msg}");
            ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, steps, done: 0, started: Instant::now(), logged: None }
    }

    /// Says what is being done now.
    pub fn say(&mut self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            eprintln!("{:8.1} s  {}/{}  {what}", self.started.elapsed().as_secs_f64(), self.done, self.steps);
        }
    }

    /// One step is done.
    pub fn step(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// A line that must be seen, such as a contender that failed.
    pub fn note(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => eprintln!("{:8.1} s  {what}", self.started.elapsed().as_secs_f64()),
        }
    }

    /// All is done.
    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        } else {
            let elapsed = self.started.elapsed().as_secs_f64();
            eprintln!("{elapsed:8.1} s  {}/{}  done", self.done, self.steps);
        }
    }
}

//! What a load has done so far, and how its user sees it: a bar on a terminal, a line a second anywhere else.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::complain;

/// What has happened so far; filled by the reader and by whoever hears the acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    records: AtomicU64,
    acknowledged: AtomicU64,
    value_bytes: AtomicU64,
    bad: AtomicU64,
    file_bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn acknowledge(&self, records: u64, value_bytes: u64) {
        self.acknowledged.fetch_add(records, Ordering::Relaxed);
        self.value_bytes.fetch_add(value_bytes, Ordering::Relaxed);
    }

    /// Counts a bad line and gives how many there are now.
    pub(crate) fn add_bad(&self) -> u64 {
        self.bad.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn add_file_bytes(&self, bytes: u64) {
        self.file_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn value_bytes(&self) -> u64 {
        self.value_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn bad(&self) -> u64 {
        self.bad.load(Ordering::Relaxed)
    }
}

/// Shows the counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    stop: Option<Sender<()>>,
    shower: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn start(counts: Arc<Counts>, total_bytes: Option<u64>, verb: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(total_bytes));
        let (stop, stopped) = channel();
        let shown = bar.clone();
        let every = if bar.is_some() { Duration::from_millis(100) } else { Duration::from_millis(900) };
        let shower = std::thread::Builder::new().name("load-progress".to_owned()).spawn(move || {
            let start = Instant::now();
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                show(&counts, total_bytes, shown.as_ref(), start.elapsed(), verb);
            }
        });
        // Without the thread the load goes on unseen.
        Self { bar, stop: Some(stop), shower: shower.ok() }
    }

    /// Something that prints lines from other threads.
    pub(crate) fn speaker(&self) -> Speaker {
        Speaker(self.bar.clone())
    }
}

/// Prints lines without tearing the bar.
#[derive(Debug, Clone)]
pub(crate) struct Speaker(Option<ProgressBar>);

impl Speaker {
    pub(crate) fn say(&self, line: &str) {
        if let Some(bar) = &self.0 {
            bar.println(line);
        } else {
            complain!("{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(shower) = self.shower.take()
            && shower.join().is_err()
        {
            complain!("the progress display broke down");
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_bytes {
        Some(total) => (ProgressBar::new(total), "{bar:32} {percent:>3} % of the file, {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} read, {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(counts: &Counts, total_bytes: Option<u64>, bar: Option<&ProgressBar>, elapsed: Duration, verb: &str) {
    let loaded = counts.acknowledged();
    let rate = loaded as f64 / elapsed.as_secs_f64();
    let mut text = format!("{loaded} loaded, {rate:.0} a second");
    if counts.bad() > 0 {
        let _infallible = write!(text, ", {} bad", counts.bad());
    }
    let file_bytes = counts.file_bytes.load(Ordering::Relaxed);
    if let Some(bar) = bar {
        bar.set_position(file_bytes);
        bar.set_message(text);
        return;
    }
    match total_bytes {
        Some(total) if total > 0 => {
            let percent = file_bytes as f64 * 100.0 / total as f64;
            complain!("{verb}: {percent:.0} % of the file read, {text}");
        }
        _ => complain!("{verb}: {file_bytes} bytes read, {text}"),
    }
}

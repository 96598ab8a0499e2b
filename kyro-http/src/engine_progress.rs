//! How far a long operation of the engine has come, as its user sees it: a bar on a terminal, a line now and then
//! anywhere else.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kyro_engine::{OnProgress, Progress};

use crate::exit::complain;

/// Where no terminal is watching, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub(crate) struct EngineProgress {
    bar: Option<ProgressBar>,
}

impl EngineProgress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::no_length);
        if let (Some(bar), Ok(style)) =
            (&bar, ProgressStyle::with_template("{msg} {bar:32} {percent:>3} %, {eta} left"))
        {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// What the engine is to call.
    pub(crate) fn callback(&self) -> OnProgress {
        let bar = self.bar.clone();
        let last = Mutex::new(Instant::now());
        Arc::new(move |progress| {
            if let Some(bar) = &bar {
                bar.set_message(progress.task);
                bar.set_length(progress.total.unwrap_or(progress.done));
                bar.set_position(progress.done);
            } else {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    complain!("{}", line(progress));
                }
            }
        })
    }
}

impl Drop for EngineProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { task, done, unit, .. } = progress;
    match progress.total {
        Some(total) if total > 0 => {
            let percent = u128::from(*done) * 100 / u128::from(total);
            format!("{task}: {percent} %, {done} of {total} {unit}")
        }
        _ => format!("{task}: {done} {unit}"),
    }
}

//! Exit codes: what a script can tell from the process's end.

use std::path::Path;
use std::process::ExitCode;

use kyro_engine::OpenError;

use crate::shell::{repair_command, verify_command};

/// Writes a line to stderr for the user. Where it cannot be written, as on a full disk, the exit code has to do:
/// `eprintln!` would panic, and change that.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _unheard = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use complain;

/// How the process ends. The numbers are part of the command's contract (docs/http.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// It could not be done; stderr says why.
    Failed = 1,
    /// The command line or the configuration makes no sense.
    Usage = 2,
    /// There is no such key.
    NotFound = 3,
    /// The data directory is damaged.
    Damage = 4,
    /// Another process has the data directory open.
    Locked = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code for a data directory that could not be opened.
pub(crate) fn of_open_error(error: &OpenError) -> Exit {
    match error {
        OpenError::Locked { .. } => Exit::Locked,
        // What the log refuses beside damage is a segment that is missing or belongs elsewhere.
        OpenError::Corrupt { .. } | OpenError::Log(_) => Exit::Damage,
        _ => Exit::Failed,
    }
}

/// Where a verb that a server can do found the directory in use: to let the server do it, on stderr.
pub(crate) fn advise_server(exit: Exit) {
    if exit == Exit::Locked {
        complain!("kyro-http: where that process is a server, let it do this: add --url http://HOST:PORT");
    }
}

/// Where the data directory is damaged: the commands to type next, on stderr.
pub(crate) fn advise(exit: Exit, dir: &Path) {
    if exit == Exit::Damage {
        complain!("kyro-http: to see everything that is wrong:\n  {}", verify_command(dir));
        complain!("kyro-http: to salvage what can be read into a new directory:\n  {}", repair_command(dir));
    }
}

//! Servers in processes of their own, on one processor or on all.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

/// Pins the calling thread, and all that it starts from now on, to one processor.
///
/// # Errors
/// What the operating system says.
pub fn pin(processor: usize) -> io::Result<()> {
    pin_to(&[processor])
}

/// As [`pin`], to several.
///
/// # Errors
/// What the operating system says.
pub fn pin_to(processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(*processor);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// A server that runs, and is stopped when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts `command` on `processor` and waits for the line on its standard output that has `http://` and an address.
    ///
    /// # Errors
    /// When it cannot be started, or ends without such a line.
    pub fn start(command: Command, processor: usize) -> io::Result<Self> {
        // A child has the processors of the thread that starts it, and counts them before it starts its own threads.
        let started = std::thread::spawn(move || {
            pin(processor)?;
            Self::start_anywhere(command)
        });
        started.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts a server panicked")))
    }

    /// As [`Server::start`], on whatever processors this thread has.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_anywhere(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let name = command.get_program().display().to_string();
            io::Error::new(error.kind(), format!("cannot start {name}: {error}"))
        })?;
        let mut lines =
            BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?).lines();
        let address = lines.find_map(|line| address(&line.ok()?));
        if let Some(address) = address {
            return Ok(Self { child, address });
        }
        let status = child.wait()?;
        Err(io::Error::other(format!("the server did not say where it listens: {status}")))
    }

    /// Processor time that it has taken so far, in user and kernel mode.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold anything; the fields after it may not.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        // USER_HZ is 100 on every Linux there is.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Bytes of memory that it holds.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("the memory of the server is unknown"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It is there as long as nobody has waited for it.
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}

/// The address in a line such as `listening on http://127.0.0.1:8080 (…)`.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    rest.split([' ', '/']).next()?.parse().ok()
}

/// A command that runs this program again with other arguments.
///
/// # Errors
/// When the program does not know where it is.
pub fn this_program(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let line = "kyro-http 0.1.0 listening on http://127.0.0.1:4711 (data x, durability Always)";
        assert_eq!(address(line), Some(([127, 0, 0, 1], 4711).into()));
        assert_eq!(address("starting"), None);
    }

    #[test]
    fn a_server_that_ends_is_noticed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo nothing to say; exit 3"]);
        let error = Server::start_anywhere(command).unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }
}

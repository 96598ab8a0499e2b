//! The load generator: one thread, non-blocking connections, epoll; requests from a source, every answer checked by it.
//!
//! *Closed loop*: each connection has a fixed number of requests on their way, and sends the next when an answer comes.
//! *Open loop*: requests are due at times of their own, at random with a given mean rate, whether or not the server keeps
//! up; a request that finds no free connection waits for one, and its latency counts from the time it was due, so that a
//! server that stalls cannot hide it by holding the client up (coordinated omission).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::http::response::{self, Malformed};
use crate::latency::histogram;
use crate::random::Random;

/// Where requests come from, and who knows the right answers.
pub trait Source {
    /// Appends the next request to `out` and gives the number by which its answer is checked.
    fn request(&mut self, out: &mut Vec<u8>) -> u64;

    /// Checks the answer to request `number`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&mut self, number: u64, status: u16, body: &[u8]) -> Result<(), String>;
}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// Connections.
    pub connections: usize,
    /// Requests on their way on each.
    pub depth: usize,
    /// How long new requests are sent.
    pub length: Duration,
    /// Answers of the first moments that are checked and not counted.
    pub warm_up: Duration,
    /// Requests a second in open loop; closed loop without.
    pub rate: Option<f64>,
    /// Most requests, if they end before the time does.
    pub most: u64,
    /// Seed of the times at which requests are due.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Answers that were counted, all of them right.
    pub answers: u64,
    /// Answers a second.
    pub per_second: f64,
    /// Nanoseconds of each: from sending (closed loop) or from the time it was due (open loop).
    pub latencies: Histogram<u64>,
    /// Processor time of this thread over answers, in microseconds: the client must not be the bottleneck.
    pub client_us: f64,
}

/// Why a load failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// Something else than HTTP came back.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An answer is wrong.
    #[error("a wrong answer, with status {status}: {reason}")]
    Wrong {
        /// Its status.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// The server closed a connection with requests on their way.
    #[error("the server closed a connection with {0} requests on their way")]
    Closed(usize),
    /// Answers did not come.
    #[error("no answer came for {PATIENCE:?}, with {0} requests on their way")]
    Silence(usize),
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read at once, at least.
const READ: usize = 64 << 10;
/// Connections told of at once.
const EVENTS: usize = 256;

/// Open connections to one server, which loads can use one after the other.
#[derive(Debug)]
pub struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    filled: usize,
    /// Requests without an answer: their numbers, and the time their latency counts from.
    waiting: VecDeque<(u64, Instant)>,
    /// True when the kernel was told to say when more can be sent.
    watched: bool,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut open = Vec::with_capacity(connections);
        for number in 0..connections {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            open.push(Connection {
                stream,
                output: Vec::with_capacity(4096),
                sent: 0,
                input: vec![0; 2 * READ],
                filled: 0,
                waiting: VecDeque::new(),
                watched: false,
            });
        }
        Ok(Self { epoll, connections: open })
    }

    /// Sends a load and waits for all its answers. `load.address` and `load.connections` are those of the client.
    ///
    /// # Errors
    /// [`LoadError`]: the first thing that is not as it should be.
    pub fn run(&mut self, load: &Load, source: &mut dyn Source) -> Result<Measured, LoadError> {
        let started = Instant::now();
        let mut run = Run {
            started,
            until: started + load.length,
            count_from: started + load.warm_up,
            due: load.rate.map(|rate| Due {
                mean: Duration::from_secs_f64(1.0 / rate),
                next: started,
                random: Random::new(load.seed, "due"),
                free: (0..self.connections.len()).collect(),
                late: VecDeque::new(),
            }),
            left: load.most,
            on_their_way: 0,
            answers: 0,
            last: started,
            latencies: histogram(),
        };
        let processor_before = processor_time();
        if run.due.is_none() {
            for connection in &mut self.connections {
                for _ in 0..load.depth {
                    run.send(connection, source, None);
                }
            }
            for number in 0..self.connections.len() {
                self.flush(number)?;
            }
        }
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.send_due(&mut run, source)?;
            let now = Instant::now();
            if run.on_their_way == 0 && run.is_over(now) {
                break;
            }
            let timeout = run.pause(now);
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                // Of a process that is stopped and goes on: nothing has come yet.
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            for event in &events {
                self.serve(event.data.u64() as usize, &mut run, source)?;
            }
            if run.on_their_way > 0 && run.last.elapsed() > PATIENCE {
                return Err(LoadError::Silence(run.on_their_way));
            }
        }
        let processor = processor_time().saturating_sub(processor_before);
        let elapsed = run.last.saturating_duration_since(run.count_from).as_secs_f64();
        Ok(Measured {
            answers: run.answers,
            per_second: if elapsed > 0.0 { run.answers as f64 / elapsed } else { 0.0 },
            client_us: processor.as_secs_f64() * 1e6 / run.answers.max(1) as f64,
            latencies: run.latencies,
        })
    }

    /// Sends what is due, as far as connections are free.
    fn send_due(&mut self, run: &mut Run, source: &mut dyn Source) -> Result<(), LoadError> {
        let Some(mut due) = run.due.take() else { return Ok(()) };
        let now = Instant::now();
        while due.next <= now && due.next < run.until && run.left > due.late.len() as u64 {
            due.late.push_back(due.next);
            due.next += due.mean.mul_f64(due.random.exponential(1.0));
        }
        let mut result = Ok(());
        while result.is_ok()
            && let (Some(&number), Some(&since)) = (due.free.last(), due.late.front())
        {
            due.free.pop();
            due.late.pop_front();
            run.send(&mut self.connections[number], source, Some(since));
            result = self.flush(number);
        }
        run.due = Some(due);
        result
    }

    /// Reads what a connection has, and goes on sending.
    fn serve(&mut self, number: usize, run: &mut Run, source: &mut dyn Source) -> Result<(), LoadError> {
        let connection = &mut self.connections[number];
        connection.read()?;
        let mut at = 0;
        while !connection.waiting.is_empty() {
            let Some(answer) = response::read(&mut connection.input[at..connection.filled])? else { break };
            let body = &connection.input[at + answer.body.start..at + answer.body.end];
            at += answer.len;
            let Some((request, since)) = connection.waiting.pop_front() else { break };
            source
                .check(request, answer.status, body)
                .map_err(|reason| LoadError::Wrong { status: answer.status, reason })?;
            run.on_their_way -= 1;
            let now = Instant::now();
            run.last = now;
            if now >= run.count_from {
                run.answers += 1;
                let took = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
                run.latencies.saturating_record(took);
            }
            if answer.closes {
                return Err(LoadError::Closed(connection.waiting.len()));
            }
            if let Some(due) = &mut run.due {
                due.free.push(number);
            } else if !run.is_over(now) {
                run.send(connection, source, None);
            }
        }
        connection.input.copy_within(at..connection.filled, 0);
        connection.filled -= at;
        self.flush(number)
    }

    /// Sends what a connection has to send, or asks to be told when it can.
    fn flush(&mut self, number: usize) -> Result<(), LoadError> {
        let Connection { stream, output, sent, watched, .. } = &mut self.connections[number];
        while *sent < output.len() {
            match stream.write(&output[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let blocked = *sent < output.len();
        if !blocked {
            output.clear();
            *sent = 0;
        }
        if blocked != *watched {
            let flags =
                if blocked { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            let data = epoll::EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &*stream, data, flags).map_err(io::Error::from)?;
            *watched = blocked;
        }
        Ok(())
    }
}

impl Connection {
    /// Reads until nothing is left, or a good deal has come.
    fn read(&mut self) -> Result<(), LoadError> {
        loop {
            if self.input.len() - self.filled < READ {
                self.input.resize(2 * self.input.len(), 0);
            }
            let room = self.input.len() - self.filled;
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(LoadError::Closed(self.waiting.len())),
                Ok(count) => {
                    self.filled += count;
                    if count < room {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// One load on its way.
struct Run {
    started: Instant,
    until: Instant,
    count_from: Instant,
    due: Option<Due>,
    left: u64,
    on_their_way: usize,
    answers: u64,
    /// The last answer.
    last: Instant,
    latencies: Histogram<u64>,
}

/// Requests of an open loop.
struct Due {
    mean: Duration,
    next: Instant,
    random: Random,
    /// Connections without a request.
    free: Vec<usize>,
    /// When those were due that wait for a connection.
    late: VecDeque<Instant>,
}

impl Run {
    fn send(&mut self, connection: &mut Connection, source: &mut dyn Source, since: Option<Instant>) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let number = source.request(&mut connection.output);
        if self.on_their_way == 0 {
            // Patience starts with the first of them.
            self.last = self.last.max(self.started);
        }
        self.on_their_way += 1;
        connection.waiting.push_back((number, since.unwrap_or_else(Instant::now)));
    }

    /// Whether no more requests are to be sent.
    fn is_over(&self, now: Instant) -> bool {
        self.left == 0 || now >= self.until && self.due.as_ref().is_none_or(|due| due.late.is_empty())
    }

    /// How long there is nothing to do but to wait for answers.
    fn pause(&self, now: Instant) -> Timespec {
        let pause = match &self.due {
            None => Duration::from_millis(100),
            Some(due) if now >= self.until || due.free.is_empty() => Duration::from_millis(100),
            // Sleeping and waking takes tens of microseconds: this thread has the processor to itself, and looks again.
            Some(due) => due.next.saturating_duration_since(now).saturating_sub(Duration::from_micros(100)),
        };
        Timespec { tv_sec: 0, tv_nsec: i64::from(pause.min(Duration::from_millis(100)).subsec_nanos()) }
    }
}

/// Processor time of this thread so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

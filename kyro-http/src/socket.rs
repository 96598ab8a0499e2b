//! A connection's socket: it notes what it sees, and sends what one turn of the connection's task answers together.
//!
//! hyper hands over one answer at a time, and has each on its way before it looks at the next request. Small answers are
//! gathered here and sent when hyper has nothing more to do, in one system call, however many there are: a single one
//! costs less that way than as a vector of head and body, and pipelined ones share it. Larger parts are sent as they are,
//! never copied. hyper's own `pipeline_flush` is no way to have that: it gathers without a bound, and holds back what is
//! not followed by another whole request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::connection::Connection;

/// Larger parts are sent as they are.
const GATHERED_PART_MAX: usize = 4 << 10;
/// What is gathered is sent when it has grown to this size.
const GATHERED_MAX: usize = 64 << 10;
/// A connection that waits keeps at most so much room for the next answers.
const KEPT_MAX: usize = 4 << 10;

/// The socket as hyper has it.
#[derive(Debug)]
pub(crate) struct Socket {
    input: TokioIo<OwnedReadHalf>,
    output: Arc<Output>,
}

/// The way out, for hyper and for the end of a turn. One task uses both: the lock is never waited for.
#[derive(Debug)]
pub(crate) struct Output {
    connection: Arc<Connection>,
    sending: Mutex<Sending>,
}

#[derive(Debug)]
struct Sending {
    socket: OwnedWriteHalf,
    gathered: Vec<u8>,
    /// How much of it is sent.
    sent: usize,
}

impl Socket {
    /// Takes over a socket. The second part is for [`Output::poll_end_of_turn`].
    pub(crate) fn new(socket: TcpStream, connection: Arc<Connection>) -> (Self, Arc<Output>) {
        let (input, socket) = socket.into_split();
        let sending = Mutex::new(Sending { socket, gathered: Vec::new(), sent: 0 });
        let output = Arc::new(Output { connection, sending });
        (Self { input: TokioIo::new(input), output: Arc::clone(&output) }, output)
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(_)) => self.connection.watch.bytes_written(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.watch.write_blocked(),
        }
        written
    }

    /// Sends what was gathered. To be called after each poll of hyper.
    pub(crate) fn poll_end_of_turn(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sending = self.lock();
        if sending.gathered.is_empty() { Poll::Ready(Ok(())) } else { self.poll_send(&mut sending, context) }
    }

    fn poll_send(&self, sending: &mut Sending, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Sending { socket, gathered, sent } = sending;
        while let Some(rest) = gathered.get(*sent..).filter(|rest| !rest.is_empty()) {
            let written = self.noted(Pin::new(&mut *socket).poll_write(context, rest));
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *sent += more,
            }
        }
        if gathered.capacity() > KEPT_MAX {
            *gathered = Vec::new();
        }
        gathered.clear();
        *sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &self,
        context: &mut Context<'_>,
        length: usize,
        gather: impl FnOnce(&mut Vec<u8>),
        write: impl FnOnce(Pin<&mut OwnedWriteHalf>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut sending = self.lock();
        let room = sending.gathered.len() + length <= GATHERED_MAX;
        if length <= GATHERED_PART_MAX && room {
            gather(&mut sending.gathered);
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_send(&mut sending, context))?;
        self.noted(write(Pin::new(&mut sending.socket), context))
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.input).poll_read(context, buffer);
        if read.is_ready() {
            self.output.connection.watch.bytes_read();
        }
        read
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gather = |gathered: &mut Vec<u8>| gathered.extend_from_slice(bytes);
        self.output
            .poll_write(context, bytes.len(), gather, |socket, context| socket.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        let gather =
            |gathered: &mut Vec<u8>| slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
        self.output.poll_write(context, length, gather, |socket, context| {
            socket.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing to do: what is gathered goes out at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sending = self.output.lock();
        ready!(self.output.poll_send(&mut sending, context))?;
        Pin::new(&mut sending.socket).poll_shutdown(context)
    }
}

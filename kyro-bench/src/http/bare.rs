//! The bare twin: hyper answering every request with the same 64 bytes, and nothing else. What a server on hyper can do
//! at most.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The name of the hidden command that runs it.
pub const COMMAND: &str = "bare-hyper";
/// What it answers.
pub const BODY: &[u8; 64] = b"a fixed body of sixty-four bytes: as long as the values of keys.";

/// Serves until the process ends, on a port that the system chooses; says where on `out`. The runtime is tokio's of several
/// threads, as many as the process may use processors: pinned to one it has one, which measures best of all runtimes.
///
/// # Errors
/// What the operating system says.
pub fn serve(mut out: impl Write) -> io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        writeln!(out, "bare hyper listening on http://{}", listener.local_addr()?)?;
        out.flush()?;
        // As the accept loop of a server: a task of the runtime, not of the thread that waits for it.
        let accepting = tokio::spawn(async move {
            loop {
                let (socket, _) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => return Err::<Infallible, io::Error>(error),
                };
                socket.set_nodelay(true)?;
                tokio::spawn(async move {
                    let service = service_fn(answer);
                    let connection = http1::Builder::new()
                        .pipeline_flush(true)
                        .serve_connection(TokioIo::new(socket), service);
                    // A client that goes away ends its connection.
                    connection.await.ok();
                });
            }
        });
        accepting.await.map_err(io::Error::other)?
    })
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(BODY)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

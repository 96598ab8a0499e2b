//! A client of a running server in plain std: puts a key, reads it back, prints what it took.
//!
//! ```sh
//! cargo run --release -p kyro-http -- serve &
//! cargo run -p kyro-http --example client -- 127.0.0.1:8080
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let stream = TcpStream::connect(&address)?;
    stream.set_nodelay(true)?;
    let mut connection = BufReader::new(stream);

    let start = Instant::now();
    let (status, offset) = request(&mut connection, "POST", "/v1/put", br#"{"key":42,"value":"hello"}"#)?;
    println!("put: {status} {} in {:?}", String::from_utf8_lossy(&offset), start.elapsed());

    let start = Instant::now();
    let (status, value) = request(&mut connection, "GET", "/v1/get_fast/42", b"")?;
    println!("get: {status} {} in {:?}", String::from_utf8_lossy(&value), start.elapsed());
    Ok(())
}

/// Sends one request over a connection that stays open, and gives status and body.
fn request(
    connection: &mut BufReader<TcpStream>,
    method: &str,
    target: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>), Box<dyn Error>> {
    let mut bytes =
        format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    connection.get_mut().write_all(&bytes)?;

    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).ok_or("no status line")?.parse()?;
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((status, body))
}

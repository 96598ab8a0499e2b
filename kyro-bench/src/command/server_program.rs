//! Which program is the server that a benchmark starts.

use std::path::PathBuf;

use kyro_bench::kv::Failure;

/// The program that was named, or kyro-http beside this one. It is there.
pub(crate) fn server_program(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let server = match named {
        Some(server) => server,
        None => std::env::current_exe()?.with_file_name("kyro-http"),
    };
    if !server.is_file() {
        let server = server.display();
        return Err(format!(
            "there is no {server}: build it (cargo build --release -p kyro-http), or give --server"
        )
        .into());
    }
    Ok(server)
}

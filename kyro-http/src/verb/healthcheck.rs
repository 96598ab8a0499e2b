//! `kyro-http healthcheck`: asks a server whether it is ready; for containers and service managers.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::Method;

use super::output;
use crate::cli::{TokenArgs, seconds};
use crate::exit::Exit;
use crate::load::Target;
use crate::store::{Server, StoreError};

/// `healthcheck`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the server takes requests, 1 it does not (opening, stopping, read-only, not there)."
)]
pub(crate) struct HealthcheckArgs {
    /// The server [default: http://127.0.0.1 with KYRODB_PORT, or 8080]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// How long to wait for its answer
    #[arg(long, value_name = "SECS", default_value = "3", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// The port, where --url is not given
    #[arg(long, env = "KYRODB_PORT", default_value_t = 8080, hide = true)]
    pub(crate) port: u16,
    /// Write the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &HealthcheckArgs) -> Result<Exit, StoreError> {
    let url = arguments.url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", arguments.port));
    let none = TokenArgs { auth_token: None, auth_token_file: None };
    let mut server = Server::connect(&Target::parse(&url)?, &none)?.with_patience(arguments.timeout);
    let reply = server.ask(Method::GET, "/readyz", Bytes::new())?;
    if reply.status != 200 {
        return Err(StoreError::Nonsense(format!("/readyz answered {}", reply.status)));
    }
    let answer = reply.json()?;
    let text = if arguments.json { answer.to_string() } else { "ready".to_owned() };
    output::line(text)?;
    Ok(Exit::Done)
}

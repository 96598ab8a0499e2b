//! `kyro-http top`: a running server, shown again and again in a terminal.

mod screen;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::output;
use crate::cli::{TokenArgs, seconds};
use crate::exit::Exit;
use crate::load::Target;
use crate::store::{Server, StoreError};
use screen::{Look, Moment, frame};

/// `top`
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// How often to look
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Look twice, an interval apart, show it and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Write one JSON object for each look instead
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
}

pub(crate) fn run(arguments: &TopArgs) -> Result<Exit, StoreError> {
    let mut server = Server::connect(&Target::parse(&arguments.url)?, &arguments.tokens)?;
    let terminal = io::stdout().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let look = Look { colours, width: width() };
    let mut before: Option<Moment> = None;
    loop {
        let now = see(&mut server)?;
        if arguments.json {
            output::line(json!({ "stats": now.stats, "tasks": now.tasks }))?;
        } else if before.is_some() || !arguments.once {
            let text = frame(&now, before.as_ref(), &arguments.url, look);
            // On a terminal each frame takes the place of the one before.
            let clear = if terminal && !arguments.once { "\x1b[H\x1b[2J" } else { "" };
            output::bytes(format!("{clear}{text}\n").as_bytes())?;
        }
        if arguments.once && (before.is_some() || arguments.json) {
            return Ok(Exit::Done);
        }
        before = Some(now);
        thread::sleep(arguments.interval);
    }
}

fn see(server: &mut Server) -> Result<Moment, StoreError> {
    let stats = server.ask(Method::GET, "/v1/stats", Bytes::new())?.json()?;
    let at = Instant::now();
    let tasks = server.ask(Method::GET, "/v1/tasks", Bytes::new())?.json()?;
    Ok(Moment { at, stats, tasks: tasks.get("tasks").cloned().unwrap_or(Value::Null) })
}

/// Columns of the terminal, as the shell tells them.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(100).clamp(60, 200)
}

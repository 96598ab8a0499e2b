//! `kyro-http scan`: the entries of a range, in the order of their keys.

use std::io::{self, BufWriter, Write};

use clap::Args;

use super::output::escaped;
use crate::cli::{ReachArgs, key};
use crate::exit::Exit;
use crate::kv::write_bytes;
use crate::store::{Asked, Store, StoreError};

/// `scan`
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// First key
    #[arg(value_parser = key, long, value_name = "KEY", default_value_t = 0)]
    pub(crate) from: u64,
    /// Last key
    #[arg(value_parser = key, long, value_name = "KEY", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) to: u64,
    /// Entries at most
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// From the largest key to the smallest
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Keys without their values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Write one JSON object a line [default: key, tab, value; line ends and bytes that are no text escaped]
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &ScanArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let asked = Asked {
        keys: Asked::keys(arguments.from, arguments.to)?,
        limit: arguments.limit,
        reverse: arguments.reverse,
        keys_only: arguments.keys_only,
    };
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut text = Vec::new();
    store.scan(&asked, &mut |entry| {
        text.clear();
        if arguments.json {
            write!(text, "{{\"key\":{},\"offset\":{}", entry.key, entry.offset)?;
            if !arguments.keys_only {
                text.push(b',');
                write_bytes(&mut text, "value", "value_base64", entry.value);
            }
            text.push(b'}');
        } else if arguments.keys_only {
            write!(text, "{}", entry.key)?;
        } else {
            write!(text, "{}\t{}", entry.key, escaped(entry.value))?;
        }
        text.push(b'\n');
        out.write_all(&text)
    })?;
    out.flush().map_err(StoreError::Output)?;
    Ok(Exit::Done)
}

//! `kyro-http del`: removes a key, or every key of a range.

use std::ops::RangeInclusive;

use clap::Args;
use serde_json::json;

use super::confirm::confirm;
use super::output;
use crate::cli::{ReachArgs, key};
use crate::exit::Exit;
use crate::store::{Asked, Store, StoreError};

/// `del`
#[derive(Debug, Args)]
pub(crate) struct DelArgs {
    /// The key
    #[arg(required_unless_present = "from", conflicts_with_all = ["from", "to"])]
    #[arg(value_parser = key)]
    pub(crate) key: Option<u64>,
    /// Remove every key from this one on; needs --to
    #[arg(value_parser = key, long, value_name = "KEY", requires = "to")]
    pub(crate) from: Option<u64>,
    /// The last key to remove; needs --from
    #[arg(value_parser = key, long, value_name = "KEY", requires = "from")]
    pub(crate) to: Option<u64>,
    /// Remove a range without being asked
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &DelArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    match (arguments.key, arguments.from, arguments.to) {
        (Some(key), ..) => one(arguments, key, store),
        (None, Some(from), Some(to)) => range(arguments, Asked::keys(from, to)?, store),
        _ => Err(StoreError::Usage("name a key, or --from and --to".to_owned())),
    }
}

fn one(arguments: &DelArgs, key: u64, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let Some(offset) = store.delete(key)? else {
        output::complain(&format!("key {key} has no value"));
        return Ok(Exit::NotFound);
    };
    if arguments.json {
        output::line(json!({ "key": key, "offset": offset }))?;
    } else {
        output::line(format_args!("key {key} removed at offset {offset}"))?;
    }
    Ok(Exit::Done)
}

fn range(arguments: &DelArgs, keys: RangeInclusive<u64>, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let (from, to) = (*keys.start(), *keys.end());
    let count = store.count(keys.clone())?;
    confirm(
        arguments.yes,
        &format!("removes {count} {}, from {from} to {to}", if count == 1 { "key" } else { "keys" }),
    )?;
    let offset = store.delete_range(keys)?;
    if arguments.json {
        output::line(json!({ "from": from, "to": to, "keys": count, "offset": offset }))?;
    } else {
        output::line(format_args!("{count} keys from {from} to {to} removed at offset {offset}"))?;
    }
    Ok(Exit::Done)
}

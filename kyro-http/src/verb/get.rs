//! `kyro-http get`: the value of a key.

use std::io::IsTerminal;

use clap::Args;

use super::output;
use crate::cli::{ReachArgs, key};
use crate::exit::Exit;
use crate::kv::write_bytes;
use crate::store::{Store, StoreError};

/// `get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The key
    #[arg(value_parser = key)]
    pub(crate) key: u64,
    /// Write key, offset and value as one JSON object [default: the value's exact bytes]
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &GetArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let key = arguments.key;
    let Some(found) = store.get(key)? else {
        output::complain(&format!("key {key} has no value"));
        return Ok(Exit::NotFound);
    };
    if arguments.json {
        let mut text = format!("{{\"key\":{key},\"offset\":{},", found.offset).into_bytes();
        write_bytes(&mut text, "value", "value_base64", &found.value);
        text.extend_from_slice(b"}\n");
        output::bytes(&text)?;
    } else {
        output::bytes(&found.value)?;
        // A file gets the value and nothing else; a prompt behind it would hide its end.
        if std::io::stdout().is_terminal() {
            output::bytes(b"\n")?;
        }
    }
    Ok(Exit::Done)
}

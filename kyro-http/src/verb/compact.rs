//! `kyro-http compact`: merges everything into one run, without what was overwritten or deleted.

use clap::Args;

use super::output;
use crate::cli::ReachArgs;
use crate::exit::Exit;
use crate::store::{Store, StoreError};

/// `compact`
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &CompactArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let report = store.compact()?;
    output::document(&report, arguments.json)?;
    Ok(Exit::Done)
}

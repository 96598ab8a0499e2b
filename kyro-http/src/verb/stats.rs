//! `kyro-http stats`: the database's numbers at this moment.

use clap::Args;

use super::output;
use crate::cli::ReachArgs;
use crate::exit::Exit;
use crate::store::{Store, StoreError};

/// `stats`
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Write the numbers as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &StatsArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let stats = store.stats()?;
    output::document(&stats, arguments.json)?;
    Ok(Exit::Done)
}

//! What an operator types: one file for each verb, over a [`Store`] that is a directory or a server.

pub(crate) mod backup;
pub(crate) mod bench_client;
pub(crate) mod build;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod confirm;
pub(crate) mod del;
pub(crate) mod dump;
pub(crate) mod get;
pub(crate) mod healthcheck;
pub(crate) mod man;
pub(crate) mod output;
pub(crate) mod put;
pub(crate) mod restore;
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod version;

use std::path::PathBuf;

use kyro_engine::describe;

use crate::cli::ReachArgs;
use crate::config::DEFAULT_DATA_DIR;
use crate::exit::{Exit, advise, advise_server};
use crate::store::{Store, StoreError, reach};

/// Runs a verb over the store that the command line names, and closes it.
pub(crate) fn on_store(
    data_dir: Option<PathBuf>,
    arguments: &ReachArgs,
    work: impl FnOnce(&mut dyn Store) -> Result<Exit, StoreError>,
) -> Exit {
    let dir = data_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let done = reach(data_dir, arguments).and_then(|mut store| {
        let worked = work(&mut *store);
        let closed = store.close();
        worked.and_then(|exit| closed.map(|()| exit))
    });
    let remote = arguments.url.is_some();
    ended(done, |exit| {
        if !remote {
            advise(exit, &dir);
            advise_server(exit);
        }
    })
}

/// Says why a verb failed, with the advice for its exit code.
pub(crate) fn ended(done: Result<Exit, StoreError>, advise: impl FnOnce(Exit)) -> Exit {
    match done {
        Ok(exit) => exit,
        // Whoever read the output wants no more of it: `kyro-http scan | head`.
        Err(StoreError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            let exit = error.exit();
            output::complain(&describe(&error));
            advise(exit);
            exit
        }
    }
}

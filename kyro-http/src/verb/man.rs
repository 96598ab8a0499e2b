//! `kyro-http man`: the manual pages, one to stdout or all into a directory.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::output;
use crate::cli::Cli;
use crate::exit::Exit;
use crate::store::StoreError;

/// `man`
#[derive(Debug, Args)]
#[command(after_help = "kyro-http man | man -l -          shows the page of the command\n\
kyro-http man get | man -l -      shows that of a verb\n\
kyro-http man --dir /usr/local/share/man/man1    installs them all")]
pub(crate) struct ManArgs {
    /// The verb whose page to write [default: the command's own]
    pub(crate) verb: Option<String>,
    /// Write the page of the command and of each verb into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    pub(crate) dir: Option<PathBuf>,
}

pub(crate) fn run(arguments: &ManArgs) -> Result<Exit, StoreError> {
    let mut command = Cli::command().flatten_help(false);
    command.build();
    if let Some(dir) = &arguments.dir {
        let made = fs::create_dir_all(dir);
        made.map_err(|source| StoreError::File { doing: "make", path: dir.clone(), source })?;
        let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
        for (name, page) in verbs.map(|verb| page(verb, true)).chain([page(&command, false)]) {
            let path = dir.join(format!("{name}.1"));
            fs::write(&path, page).map_err(|source| StoreError::File { doing: "write", path, source })?;
        }
        return Ok(Exit::Done);
    }
    let shown = match &arguments.verb {
        None => page(&command, false),
        Some(name) => match command.find_subcommand(name) {
            Some(verb) => page(verb, true),
            None => {
                return Err(StoreError::Usage(format!("there is no verb `{name}`; see kyro-http --help")));
            }
        },
    };
    output::bytes(&shown.1)?;
    Ok(Exit::Done)
}

/// The name of a page and its text.
fn page(command: &Command, is_verb: bool) -> (String, Vec<u8>) {
    let name =
        if is_verb { format!("kyro-http-{}", command.get_name()) } else { command.get_name().to_owned() };
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let man = Man::new(command.clone()).title(name.to_ascii_uppercase()).source("kyro-http");
    let _infallible = man.render(&mut text).ok();
    (name, text)
}

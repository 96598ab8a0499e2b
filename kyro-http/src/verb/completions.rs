//! `kyro-http completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::output;
use crate::cli::Cli;
use crate::exit::Exit;
use crate::store::StoreError;

/// `completions`
#[derive(Debug, Args)]
#[command(
    after_help = "bash: kyro-http completions bash > ~/.local/share/bash-completion/completions/kyro-http\n\
zsh:  kyro-http completions zsh > \"${fpath[1]}/_kyro-http\"\n\
fish: kyro-http completions fish > ~/.config/fish/completions/kyro-http.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

pub(crate) fn run(arguments: &CompletionsArgs) -> Result<Exit, StoreError> {
    let mut text = Vec::new();
    generate(arguments.shell, &mut Cli::command(), "kyro-http", &mut text);
    output::bytes(&text)?;
    Ok(Exit::Done)
}

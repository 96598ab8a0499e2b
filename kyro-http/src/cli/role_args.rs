//! Flags about tokens that may not do everything, and about what takes a token.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// Tokens of lesser roles.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct RoleArgs {
    /// A token that may read and write, and not administer
    #[arg(long, env = "KYRODB_WRITE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) write_token: Option<String>,
    /// A file of tokens that may read and write, one a line
    #[arg(long, env = "KYRODB_WRITE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) write_token_file: Option<PathBuf>,
    /// A token that may only read
    #[arg(long, env = "KYRODB_READ_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) read_token: Option<String>,
    /// A file of tokens that may only read, one a line
    #[arg(long, env = "KYRODB_READ_TOKEN_FILE", value_name = "FILE")]
    pub(crate) read_token_file: Option<PathBuf>,
    /// Ask for a token on /metrics and /build_info too
    #[arg(long, env = "KYRODB_PROTECT_METRICS", value_name = "BOOL", default_value = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        action = ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) protect_metrics: bool,
}

//! The commands that are more than a few lines: their arguments, and what they make of them.

pub(crate) mod compare;
pub(crate) mod engine;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod plot;
pub(crate) mod rivals;
pub(crate) mod server_program;
pub(crate) mod switch;
pub(crate) mod workload;

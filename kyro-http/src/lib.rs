//! The KyroDB server and its operator verbs: `serve`, `load`, `verify`, `repair` and `inspect`.
//!
//! The only crate that knows JSON, tokio, HTTP or Prometheus; everything durable is behind [`kyro_engine::Engine`].
//! The contract of the routes, limits, error codes and exit codes is in `docs/http.md`.
//!
//! A request travels [`service`](self) → limits, route, access → handler → engine, and back as bytes that are not
//! copied on the way.

mod admin;
mod answer;
mod app;
mod body;
mod build_info;
mod cli;
mod config;
mod connection;
mod connection_watch;
mod decimal;
mod engine_errors;
mod engine_progress;
mod exit;
mod exposition;
mod fields;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod histogram;
mod host_check;
mod inspect;
mod kv;
mod load;
mod metrics;
mod print_config;
mod problem;
mod rate_limit;
mod read_body;
mod repair;
mod replay;
mod route;
mod run;
mod schedule;
mod server;
mod service;
mod settings_file;
mod shell;
mod subscribe;
mod tokens;
mod verify;

pub use run::run;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

//! The KyroDB server and its operator verbs: one binary for the server, its clients and its keepers.
//!
//! The only crate that knows JSON, tokio, HTTP or Prometheus; everything durable is behind [`kyro_engine::Engine`].
//! The contract of the routes, limits, error codes and exit codes is in `docs/http.md`.
//!
//! A request travels [`service`](self) → limits, route, access → handler → engine, and back as bytes that are not
//! copied on the way.

mod access_log;
mod admin;
mod answer;
mod app;
mod backup;
mod batch;
mod body;
mod build_info;
mod call;
mod changes;
mod cli;
mod cold;
mod config;
mod connection;
mod connection_watch;
mod connections;
mod decimal;
mod dispatch;
mod engine_errors;
mod engine_progress;
mod exit;
mod exposition;
mod fields;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod histogram;
mod host_check;
mod index_quality;
mod inspect;
mod kv;
mod kv_resource;
mod load;
mod load_stream;
mod metrics;
mod mget;
mod print_config;
mod problem;
mod proxies;
mod rate_limit;
mod read_body;
mod repair;
mod replay;
mod route;
mod run;
mod scan;
mod server;
mod service;
mod settings_file;
mod shell;
mod socket;
mod stats_document;
mod store;
mod streaming;
mod subscribe;
mod tasks;
mod together;
mod tokens;
mod ui;
mod verb;
mod verify;
mod versions;
mod wake_relay;
mod workers;
mod write;

pub use run::run;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

//! Every performance claim of KyroDB, as commands.
//!
//! What holds for every benchmark here: data is seeded and documented ([`dataset`], [`kv`]); answers are verified before
//! anything is timed ([`store`]), and what was written is read back before its figure counts ([`kv`]); repeats of all
//! contenders are interleaved, so that a slow minute of the machine hits all of them; a figure is a median with its
//! spread ([`spread`]); a report names machine, commit and date ([`report`]).

pub mod column;
pub mod compare;
pub mod dataset;
pub mod engine;
pub mod http;
pub mod index;
pub mod instructions;
pub mod kv;
pub mod latency;
pub mod limit;
pub mod machine;
pub mod pages;
pub mod plot;
pub mod progress;
pub mod random;
pub mod report;
pub mod rival;
pub mod spread;
pub mod store;
pub mod summary;
pub mod wal;
pub mod ycsb;
pub mod zipf;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

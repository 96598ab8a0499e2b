//! Node locations as map tools need them: sparse ids in clusters, built once from a sorted extract, then looked up by
//! the thousand to give ways their geometry.
//!
//! `cargo run --release -p kyro-engine --example node_locations`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use kyro_engine::{BulkBuild, BulkOptions, Engine, Options};

const NODES: u64 = 300_000;

/// The id of the nth node: runs of neighbours with wide gaps, as editors leave them.
fn id(nth: u64) -> u64 {
    nth / 1000 * 1_000_003 + nth % 1000 * (1 + nth / 1000 % 3)
}

/// A place in ten-millionths of a degree, eight bytes.
fn location(nth: u64) -> [u8; 8] {
    let (longitude, latitude) = ((nth * 37 % 3_600_000_000) as u32, (nth * 91 % 1_800_000_000) as u32);
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&longitude.to_le_bytes());
    bytes[4..].copy_from_slice(&latitude.to_le_bytes());
    bytes
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("nodes");
    let start = Instant::now();
    let mut build = BulkBuild::create(&data, BulkOptions::default())?;
    for nth in 0..NODES {
        build.push(id(nth), &location(nth))?;
    }
    let report = build.finish()?;
    println!("{} nodes, {} bytes, built and verified in {:.2?}", report.keys, report.bytes, start.elapsed());

    // Any number of processes may read it; nobody has to write it.
    let nodes = Engine::open_read_only(&data, Options::default())?.view();
    let start = Instant::now();
    let (mut ways, mut points) = (0, 0);
    for first in (0..NODES - 64).step_by(64) {
        let way: Vec<u64> = (first..first + 64).map(|nth| id(nth * 7 % NODES)).collect();
        nodes
            .mget_with(&way, |_, place| points += usize::from(place.is_some_and(|place| place.len() == 8)))?;
        ways += 1;
    }
    println!("{ways} ways, {points} points in {:.2?}", start.elapsed());
    assert_eq!(points, ways * 64, "every node of every way has its place");
    assert!(!nodes.contains(id(NODES - 1) + 1)?);
    Ok(())
}

//! Builds kyro-rmi over one key set, checks every answer, and prints what the index is like.
//!
//! ```text
//! cargo run --release -p kyro-bench --example one_set -- osm-like 1000000
//! ```
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use kyro_bench::dataset::DataSet;
use kyro_bench::rival::kyro::Kyro;
use kyro_bench::store::verify;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "uniform".to_owned());
    let set = DataSet::named(&name).ok_or_else(|| format!("there is no set named {name}"))?;
    let count = arguments.next().map_or(Ok(100_000), |count| count.parse())?;

    let keys = set.generate(count, 1);
    let index = Kyro::build(&keys)?;
    verify(&index, &keys, &keys)?;

    let stats = index.index().stats();
    println!("{}: {count} keys, {}", set.name(), set.description());
    println!("{} bytes of index, {:.3} bits a key", stats.bytes, stats.bits_per_key());
    println!("{} leaves, windows of at most {} keys", stats.leaves, stats.max_window);
    println!("every key was found where it is");
    Ok(())
}

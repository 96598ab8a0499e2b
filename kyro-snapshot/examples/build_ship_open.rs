//! Builds a table, ships it as one file, opens it elsewhere: `cargo run -p kyro-snapshot --example build_ship_open`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use kyro_snapshot::inspect::inspect;
use kyro_snapshot::{Mapping, Run, RunInfo, Writer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("calling-codes-{}.run", std::process::id()));

    // Build: keys in increasing order, each with an offset (here: the year of the last change).
    let info = RunInfo { uuid: *b"calling codes #1", database: *b"atlas, edition 3", epoch: 1 };
    let mut writer = Writer::new(BufWriter::new(File::create_new(&path)?), info)?;
    for (code, year, name) in
        [(1, 1951, "North America"), (33, 1960, "France"), (38, 1992, ""), (49, 1990, "Germany")]
    {
        // No value: a tombstone. 38 was Yugoslavia.
        writer.push(code, year, (!name.is_empty()).then_some(name.as_bytes()))?;
    }
    let (mut file, summary) = writer.finish()?;
    // The writer does not sync. Whoever publishes a file does that, and names it only afterwards.
    file.flush()?;
    println!("wrote {} entries in {} bytes", summary.entries, summary.file_bytes);

    // Ship: it is one file; copy it as you like. Open: constant time, whatever its size.
    let run = Arc::new(Run::open(Mapping::map(&File::open(&path)?)?)?);
    for code in [33, 38, 44] {
        match run.find(code)?.map(|index| run.entry(index)).transpose()? {
            None => println!("{code}: unknown"),
            Some(entry) => match entry.value {
                None => println!("{code}: gone since {}", entry.offset),
                Some(value) => println!("{code}: {}", String::from_utf8_lossy(run.slice(value))),
            },
        }
    }
    run.verify(&mut |done, total| println!("verified {done} of {total} bytes"))?;
    println!("\n{}", inspect(run.as_bytes())?);
    std::fs::remove_file(path)?;
    Ok(())
}

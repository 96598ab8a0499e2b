//! `kyro-http inspect`: one file of a database as facts, as text or JSON.

#![expect(clippy::print_stdout, reason = "a command tells its user what it found")]

use std::path::PathBuf;

use clap::Args;
use kyro_engine::{Fact, InspectOptions, Inspection, Table, describe};
use serde_json::{Map, Value, json};

use crate::exit::{Exit, complain};

/// `inspect`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every checksum holds, 4 the file is damaged, 1 it could not be read or is none of ours."
)]
pub(crate) struct InspectArgs {
    /// A log segment (.wal), a run (.run), an index (.idx) or a MANIFEST; told by its first bytes
    pub(crate) file: PathBuf,
    /// List the frames of a segment or the entries of a run too
    #[arg(long, visible_alias = "entries")]
    pub(crate) frames: bool,
    /// Rows of a list at most; 0 = all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Write the facts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &InspectArgs) -> Exit {
    let mut options = InspectOptions::default();
    options.items = arguments.frames;
    options.limit = if arguments.limit == 0 { usize::MAX } else { arguments.limit };
    match kyro_engine::inspect(&arguments.file, &options) {
        Ok(inspection) => {
            if arguments.json {
                println!("{}", as_json(&inspection));
            } else {
                println!("{inspection}");
            }
            if inspection.damage.is_empty() { Exit::Done } else { Exit::Damage }
        }
        Err(error) => {
            complain!("kyro-http: {}", describe(&error));
            Exit::Failed
        }
    }
}

fn as_json(inspection: &Inspection) -> Value {
    let tables = inspection.tables.iter().map(|table| (table.name.to_owned(), table_json(table)));
    json!({
        "file": inspection.file.display().to_string(),
        "kind": inspection.kind,
        "bytes": inspection.bytes,
        "ok": inspection.damage.is_empty(),
        "damage": inspection.damage,
        "facts": tables.collect::<Map<_, _>>(),
    })
}

/// Names with values become one object, everything else a list of rows and how many there are.
fn table_json(table: &Table) -> Value {
    if table.columns == ["field", "value"] {
        let fields =
            table.rows.iter().filter_map(|row| Some((row.first()?.to_string(), fact_json(row.get(1)?))));
        return Value::Object(fields.collect());
    }
    let rows = table.rows.iter().map(|row| {
        let cells = table.columns.iter().zip(row).map(|(name, fact)| ((*name).to_owned(), fact_json(fact)));
        Value::Object(cells.collect())
    });
    json!({ "total": table.total, "rows": rows.collect::<Vec<_>>() })
}

fn fact_json(fact: &Fact) -> Value {
    match fact {
        Fact::None => Value::Null,
        Fact::Number(number) => (*number).into(),
        other => other.to_string().into(),
    }
}

//! `kyro-http dump`: every entry of a range into a file that `load` and `build` read.

mod sink;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::confirm::confirm;
use super::output;
use crate::cli::{Format, ReachArgs, key};
use crate::exit::Exit;
use crate::store::{Asked, Store, StoreError};
use sink::Sink;

/// A file is written under its name with this appended, until it is whole.
const PARTIAL: &str = ".partial";

/// `dump`
#[derive(Debug, Args)]
#[command(
    after_help = "Everything is from one view: writes that come meanwhile are not in it. The file gets its name \
when it is whole and on disk."
)]
pub(crate) struct DumpArgs {
    /// The file to write; with .gz at its end it is packed; - is stdout
    pub(crate) file: PathBuf,
    /// Form of the file [default: by its name]
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<Format>,
    /// First key
    #[arg(value_parser = key, long, value_name = "KEY", default_value_t = 0)]
    pub(crate) from: u64,
    /// Last key
    #[arg(value_parser = key, long, value_name = "KEY", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) to: u64,
    /// CSV: name of the column for the key
    #[arg(long, value_name = "NAME", default_value = "key")]
    pub(crate) key_column: String,
    /// CSV: name of the column for the value
    #[arg(long, value_name = "NAME", default_value = "value")]
    pub(crate) value_column: String,
    /// CSV: values are JSON objects; write these members as columns instead of the value
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "value_column")]
    pub(crate) columns: Vec<String>,
    /// Stop at the first value that the form cannot hold
    #[arg(long)]
    pub(crate) strict: bool,
    /// Replace a file that is there already without being asked
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write the summary as JSON (to stderr where the data goes to stdout)
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &DumpArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let start = Instant::now();
    let keys = Asked::keys(arguments.from, arguments.to)?;
    let to_stdout = arguments.file == Path::new("-");
    let (form, packed) = form(&arguments.file, arguments.format)?;
    if !to_stdout && arguments.file.exists() {
        confirm(arguments.yes, &format!("replaces {}", arguments.file.display()))?;
    }
    let target = Target::open(&arguments.file, packed)?;
    let mut sink = Sink::new(target, form, arguments);
    let mut bad = 0_u64;
    let mut first_bad = None;
    let asked = Asked::range(keys);
    let scanned = store.scan(&asked, &mut |entry| match sink.write(entry.key, entry.value)? {
        Ok(()) => Ok(()),
        Err(reason) if arguments.strict => {
            first_bad = Some(format!("key {}: {reason} (--strict stops at the first)", entry.key));
            Err(io::Error::other("a value does not fit the form"))
        }
        Err(reason) => {
            bad += 1;
            if bad <= 20 {
                output::complain(&format!("key {}: {reason}", entry.key));
            }
            Ok(())
        }
    });
    if let (Err(_), Some(reason)) = (&scanned, first_bad) {
        return Err(StoreError::Usage(reason));
    }
    scanned?;
    let (entries, bytes) = sink.counts();
    let unwritable = |source| StoreError::File { doing: "write", path: arguments.file.clone(), source };
    sink.finish().and_then(Target::publish).map_err(unwritable)?;
    let seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let summary = if arguments.json {
        json!({ "file": arguments.file.display().to_string(), "entries": entries, "value_bytes": bytes, "bad": bad,
            "seconds": seconds })
        .to_string()
    } else {
        format!("{entries} entries ({bytes} bytes of values) written in {seconds:.2} s; {bad} left out")
    };
    if !to_stdout {
        output::line(summary)?;
    } else if arguments.json {
        output::note(&summary);
    }
    Ok(if bad == 0 { Exit::Done } else { Exit::Failed })
}

/// The form that a name promises, and whether the file is to be packed.
fn form(path: &Path, asked: Option<Format>) -> Result<(Format, bool), StoreError> {
    let (by_name, packed) = Format::of_name(path);
    let form = asked.or(by_name).or((path == Path::new("-")).then_some(Format::Ndjson));
    let form = form.ok_or_else(|| {
        let reason = "the name does not tell the form; say --format ndjson, csv or binary";
        StoreError::Usage(format!("{}: {reason}", path.display()))
    })?;
    Ok((form, packed))
}

/// Where the bytes go.
enum Target {
    Stdout(BufWriter<io::Stdout>),
    File { out: Box<Out>, partial: PathBuf, path: PathBuf },
}

enum Out {
    Plain(BufWriter<File>),
    Packed(GzEncoder<BufWriter<File>>),
}

impl Target {
    fn open(path: &Path, packed: bool) -> Result<Self, StoreError> {
        const BUFFER_BYTES: usize = 256 << 10;
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|source| StoreError::File {
            doing: "make",
            path: partial.clone(),
            source,
        })?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let out =
            if packed { Out::Packed(GzEncoder::new(file, Compression::fast())) } else { Out::Plain(file) };
        Ok(Self::File { out: Box::new(out), partial, path: path.to_owned() })
    }

    /// Ends the writing and gives the file its name.
    #[expect(clippy::disallowed_methods, reason = "a dump is no file of a database")]
    fn publish(self) -> io::Result<()> {
        let (out, partial, path) = match self {
            Self::Stdout(mut out) => return out.flush(),
            Self::File { out, partial, path } => (out, partial, path),
        };
        let file = match *out {
            Out::Plain(file) => file,
            Out::Packed(packed) => packed.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, &path)
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { out, .. } => match &mut **out {
                Out::Plain(out) => out.write(bytes),
                Out::Packed(out) => out.write(bytes),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { out, .. } => match &mut **out {
                Out::Plain(out) => out.flush(),
                Out::Packed(out) => out.flush(),
            },
        }
    }
}

//! The configuration file of `serve`: TOML, one key for each flag, beneath flags and environment.
//!
//! What the file says becomes the default of the flag of that name, so that clap's own checks and its own order
//! (command line, environment, default) hold for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use toml::{Table, Value};

/// The verb that takes a configuration file.
pub(crate) const VERB: &str = "serve";
/// Arguments that are about the configuration itself, or ask for help: no keys of a file.
const NOT_SETTINGS: [&str; 4] = ["config", "print_config", "help", "version"];
/// Settings whose value is shown to nobody.
pub(crate) const SECRETS: [&str; 3] = ["auth_token", "write_token", "read_token"];
/// A longer file is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration file cannot be used. No variant carries a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the configuration file {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not TOML: line {line}: {reason}", .path.display())]
    NotToml { path: PathBuf, line: usize, reason: String },
    #[error("{}: there is no setting `{key}`; `kyro-http serve --print-config` lists all", .path.display())]
    Unknown { path: PathBuf, key: String },
    #[error("{}: `{key}` must be a string, a number, true or false; only a flag that takes several values takes a list", .path.display())]
    Kind { path: PathBuf, key: String },
    #[error("{}: `{key}` is not valid: {reason}", .path.display())]
    Invalid { path: PathBuf, key: String, reason: String },
    #[error("{} holds a token and can be read by others (mode {mode:04o}); run: chmod 600 {}", .path.display(), .path.display())]
    Exposed { path: PathBuf, mode: u32 },
}

/// The settings of a file, by argument id.
#[derive(Default)]
pub(crate) struct SettingsFile {
    values: BTreeMap<String, Vec<String>>,
}

/// The arguments of `serve` that are settings, in the order of the help.
pub(crate) fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    let verb = command.find_subcommand(VERB).into_iter().flat_map(Command::get_arguments);
    let global = command.get_arguments().filter(|arg| arg.is_global_set());
    global.chain(verb).filter(|arg| !NOT_SETTINGS.contains(&arg.get_id().as_str()))
}

/// The name of a setting in a file: its flag's, or its position's.
pub(crate) fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_else(|| arg.get_id().as_str())
}

impl SettingsFile {
    /// Reads a file and checks that every key is a setting.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<Self, SettingsError> {
        let io = |source| SettingsError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let mode = mode(&file.metadata().map_err(io)?);
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        let settings = Self::parse(&text, path, command)?;
        if mode & 0o077 != 0 && SECRETS.iter().any(|id| settings.values.contains_key(*id)) {
            return Err(SettingsError::Exposed { path: path.to_owned(), mode });
        }
        Ok(settings)
    }

    fn parse(text: &str, path: &Path, command: &Command) -> Result<Self, SettingsError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            SettingsError::NotToml { path: path.to_owned(), line, reason: error.message().to_owned() }
        })?;
        let mut values = BTreeMap::new();
        for (name, value) in table {
            let Some(arg) = settings(command).find(|arg| key(arg) == name) else {
                return Err(SettingsError::Unknown { path: path.to_owned(), key: name });
            };
            let texts = match value {
                Value::Array(many) if matches!(arg.get_action(), ArgAction::Append) => {
                    many.iter().map(text_of).collect()
                }
                one => text_of(&one).map(|text| vec![text]),
            };
            let texts =
                texts.ok_or_else(|| SettingsError::Kind { path: path.to_owned(), key: name.clone() })?;
            values.insert(arg.get_id().to_string(), texts);
        }
        let file = Self { values };
        file.check(path, command)?;
        Ok(file)
    }

    /// Checks each value by itself, so that an error can name its key and the file.
    fn check(&self, path: &Path, command: &Command) -> Result<(), SettingsError> {
        for arg in settings(command) {
            let Some(values) = self.values.get(arg.get_id().as_str()) else { continue };
            let arg = arg.clone().global(false).required(false);
            let arg = arg.env(None::<&str>).default_values(values.clone());
            if let Err(error) = Command::new(VERB).arg(&arg).try_get_matches_from([VERB]) {
                let reason = if SECRETS.contains(&arg.get_id().as_str()) {
                    "it is refused".to_owned()
                } else {
                    let text = error.to_string();
                    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
                };
                return Err(SettingsError::Invalid {
                    path: path.to_owned(),
                    key: key(&arg).to_owned(),
                    reason,
                });
            }
        }
        Ok(())
    }

    /// Makes the file's values the defaults of their flags.
    pub(crate) fn apply(&self, command: Command) -> Command {
        let global: Vec<String> = command
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .map(|arg| arg.get_id().to_string())
            .collect();
        self.values.iter().fold(command, |command, (id, values)| {
            let set = |arg: Arg| arg.default_values(values.clone());
            if global.contains(id) {
                command.mut_arg(id, set)
            } else {
                command.mut_subcommand(VERB, |verb| verb.mut_arg(id, set))
            }
        })
    }

    /// Whether the file has this setting.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.values.contains_key(id)
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode(_metadata: &std::fs::Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn parse(text: &str) -> Result<SettingsFile, String> {
        SettingsFile::parse(text, Path::new("kyro.toml"), &Cli::command()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_setting_has_an_environment_name_and_one_key() {
        let command = Cli::command();
        let mut keys: Vec<&str> = settings(&command).map(key).collect();
        for arg in settings(&command) {
            let env = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(env.starts_with("KYRODB_"), "{} has no environment name", key(arg));
        }
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert!(keys.contains(&"data-dir") && keys.contains(&"port") && keys.contains(&"max-value-bytes"));
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name_and_no_value_is_shown() {
        for (text, part) in [
            ("port = ", "line 1"),
            ("port = 1\nport = 2", "line 2"),
            ("prot = 1", "no setting `prot`"),
            ("config = 'x'", "no setting `config`"),
            ("[port]\na = 1", "`port` must be"),
            ("port = 1979-05-27", "`port` must be"),
            ("port = 70000", "`port` is not valid"),
            ("durability = 'sometimes'", "must be always"),
            ("auth-token = [1, 2]", "`auth-token` must be"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains("kyro.toml") && error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn values_become_defaults() {
        let file = parse("port = 9\nprotect-metrics = true\nidle-timeout = 1.5\ndata-dir = '/d'").unwrap();
        let matches = file.apply(Cli::command()).try_get_matches_from(["kyro-http", "serve"]).unwrap();
        let serve = matches.subcommand_matches(VERB).unwrap();
        assert_eq!(serve.get_one::<u16>("port"), Some(&9));
        assert_eq!(serve.get_one::<bool>("protect_metrics"), Some(&true));
        let line = ["kyro-http", "serve", "h", "10", "--protect-metrics=false"];
        let matches = file.apply(Cli::command()).try_get_matches_from(line).unwrap();
        let serve = matches.subcommand_matches(VERB).unwrap();
        assert_eq!(serve.get_one::<u16>("port"), Some(&10), "a flag wins");
        assert_eq!(serve.get_one::<bool>("protect_metrics"), Some(&false));
        assert!(file.has("port") && !file.has("host"));
    }
}

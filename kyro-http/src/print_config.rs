//! `serve --print-config`: every setting, its value and where the value comes from, as a configuration file.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::settings_file::{SECRETS, SettingsFile, key, settings};

/// The text: TOML that `--config` reads, each line with its source. Tokens are named and not shown.
pub(crate) fn text(command: &Command, serve: &ArgMatches, file: &SettingsFile) -> String {
    let mut text = String::new();
    for arg in settings(command) {
        let id = arg.get_id().as_str();
        let key = key(arg);
        let source = source(arg, serve, file);
        let values: Vec<String> =
            serve.get_raw(id).into_iter().flatten().map(|value| literal(&value.to_string_lossy())).collect();
        let _infallible = match values.as_slice() {
            [] => writeln!(text, "# {key} is not set"),
            _ if SECRETS.contains(&id) => writeln!(text, "# {key} is set and not shown  # {source}"),
            [one] => writeln!(text, "{key} = {one}  # {source}"),
            many => writeln!(text, "{key} = [{}]  # {source}", many.join(", ")),
        };
    }
    text
}

fn source(arg: &Arg, serve: &ArgMatches, file: &SettingsFile) -> String {
    match serve.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => "flag".to_owned(),
        Some(ValueSource::EnvVariable) => {
            format!("environment, {}", arg.get_env().unwrap_or_default().to_string_lossy())
        }
        _ if file.has(arg.get_id().as_str()) => "file".to_owned(),
        _ => "default".to_owned(),
    }
}

/// A value as TOML: numbers and truth values bare, everything else quoted.
fn literal(value: &str) -> String {
    let number = !value.is_empty()
        && value.len() < 19
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'));
    if number || value == "true" || value == "false" {
        return value.to_owned();
    }
    // The escapes of JSON are escapes of TOML too.
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_documentation_lists_every_setting_with_environment_key_and_default() {
        let docs = include_str!("../../docs/operations.md");
        let command = Cli::command();
        let missing: Vec<String> =
            settings(&command).map(row).filter(|row| !docs.contains(row.as_str())).collect();
        assert!(missing.is_empty(), "docs/operations.md lacks\n{}", missing.join("\n"));
    }

    fn row(arg: &Arg) -> String {
        let flag =
            arg.get_long().map_or_else(|| format!("`{}` (position)", key(arg)), |long| format!("`--{long}`"));
        let env = arg.get_env().unwrap_or_default().to_string_lossy();
        let default = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect::<Vec<_>>()
            .join(",");
        let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        format!("| {flag} | `{env}` | {default} | {help} |")
    }

    #[test]
    fn literals_are_toml() {
        for (value, expected) in [
            ("8080", "8080"),
            ("0", "0"),
            ("007", "\"007\""),
            ("99999999999999999999", "\"99999999999999999999\""),
            ("true", "true"),
            ("0.5", "\"0.5\""),
            ("127.0.0.1", "\"127.0.0.1\""),
            ("a\"b\n", "\"a\\\"b\\n\""),
        ] {
            assert_eq!(literal(value), expected);
        }
    }
}

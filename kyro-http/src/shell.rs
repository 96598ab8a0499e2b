//! Commands that a message tells its reader to type: exact, whatever is in the paths.

use std::path::Path;

/// A path as one word of a POSIX shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A path as an argument that cannot be taken for a flag.
fn operand(path: &Path) -> String {
    let quoted = quoted(path);
    if quoted.trim_start_matches('\'').starts_with('-') { quoted.replacen('-', "./-", 1) } else { quoted }
}

/// The command that serves a data directory.
pub(crate) fn serve_command(dir: &Path) -> String {
    format!("kyro-http serve --data-dir {}", operand(dir))
}

/// The command that checks a data directory.
pub(crate) fn verify_command(dir: &Path) -> String {
    format!("kyro-http verify {}", operand(dir))
}

/// The command that salvages a data directory into a new one beside it.
pub(crate) fn repair_command(dir: &Path) -> String {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(if name.is_empty() { "repaired" } else { ".repaired" });
    // `..` and `/` have no name: the new directory is then made where the command is run.
    let into = dir.file_name().map_or_else(|| Path::new(&name).to_owned(), |_| dir.with_file_name(&name));
    format!("kyro-http repair {} --into {}", operand(dir), operand(&into))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a shell makes of a word.
    fn word(text: &str) -> Vec<String> {
        let script = format!("for word in {text}; do printf '%s\\0' \"$word\"; done");
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        words.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn a_shell_reads_back_every_path_as_one_word() {
        for path in [
            "/data",
            "./my data",
            "it's",
            "a\"b",
            "$HOME",
            "`x`",
            "a\nb",
            "*",
            "~",
            "é",
            "a\\b",
            "'",
            "#x",
            "-x",
        ] {
            assert_eq!(word(&quoted(Path::new(path))), [path], "{path}");
        }
        assert_eq!(quoted(Path::new("/var/lib/kyro-db_1.2")), "/var/lib/kyro-db_1.2");
    }

    #[test]
    fn the_commands_can_be_pasted() {
        assert_eq!(repair_command(Path::new("./data")), "kyro-http repair ./data --into ./data.repaired");
        assert_eq!(
            repair_command(Path::new("/my data/")),
            "kyro-http repair '/my data/' --into '/my data.repaired'"
        );
        assert_eq!(repair_command(Path::new("/")), "kyro-http repair / --into repaired");
        assert_eq!(repair_command(Path::new("..")), "kyro-http repair .. --into repaired");
        assert_eq!(verify_command(Path::new("-x")), "kyro-http verify ./-x");
        let words = word(&repair_command(Path::new("-it's")));
        assert_eq!(words, ["kyro-http", "repair", "./-it's", "--into", "./-it's.repaired"]);
    }
}

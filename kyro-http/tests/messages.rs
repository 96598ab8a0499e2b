//! Errors as a newcomer meets them: provoked through the command, each with its exit code, frozen word for word.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    reason = "a test that cannot go on fails, and is in no hurry"
)]

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Server, command, fresh};

/// Commands and what they said.
struct Transcript {
    place: PathBuf,
    text: String,
    errors: usize,
}

impl Transcript {
    fn at(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }

    fn quiet(&self) -> Command {
        let mut command = command();
        command.env("RUST_LOG", "error").env("COLUMNS", "100").current_dir(&self.place);
        command
    }

    /// Runs words that must fail, `DIR/` standing for the place.
    fn fails(&mut self, words: &str) {
        self.fails_with(words, &[]);
    }

    fn fails_with(&mut self, words: &str, variables: &[(&str, &str)]) {
        let place = self.place.display().to_string();
        let arguments = words.split(' ').map(|word| word.replace("DIR", &place));
        let output = self.quiet().args(arguments).envs(variables.iter().copied()).output().unwrap();
        let code = output.status.code().unwrap();
        assert_ne!(code, 0, "{words}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.is_empty() && !said.contains("panicked"), "{words}: {said}");
        self.text.push_str(&format!("$ kyro-http {words}\n{}exit {code}\n\n", self.plain(&said)));
        self.errors += 1;
    }

    fn works(&self, words: &str) {
        let place = self.place.display().to_string();
        let arguments = words.split(' ').map(|word| word.replace("DIR", &place));
        let output = self.quiet().args(arguments).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
    }

    /// What changes from run to run, replaced.
    fn plain(&self, said: &str) -> String {
        let said = said.replace(&self.place.display().to_string(), "DIR");
        let mut plain = String::new();
        for line in said.lines() {
            let words = line.split_inclusive([' ', '(', ')', ',', ';', ':', '"', '/']).map(|word| {
                let bare = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
                let rest = word.get(bare.len()..).unwrap_or_default();
                let digits = bare.strip_prefix("0x").unwrap_or(bare);
                let is_hex = digits.len() == 8 || digits.len() == 32 || digits.len() == 36;
                let is_hex = is_hex && digits.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
                if is_hex { format!("[HEX]{rest}") } else { word.to_owned() }
            });
            plain.push_str(words.collect::<String>().trim_end());
            plain.push('\n');
        }
        // Process ids and ports.
        for (before, name) in [("(pid ", "PID"), ("127.0.0.1:", "PORT")] {
            let mut parts = plain.split(before);
            let mut replaced = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
                replaced.push_str(&format!("{before}[{name}]{rest}"));
            }
            plain = replaced;
        }
        plain
    }
}

fn file_with_ending(dir: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|found| found == ending)).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

fn write(told: &Transcript, name: &str, text: &str) {
    fs::write(told.at(name), text).unwrap();
}

/// What `load`, `build` and `dump` say of files.
fn files_of_records(told: &mut Transcript) {
    told.fails("load DIR/missing.ndjson --data-dir DIR/data");
    write(told, "records.txt", "{\"key\":1,\"value\":\"x\"}\n");
    told.fails("load DIR/records.txt --data-dir DIR/data");
    write(
        told,
        "bad.ndjson",
        "{\"key\":1,\"value\":\"x\"}\n{\"key\":-1,\"value\":\"x\"}\n{\"key\":1}\nplain\n",
    );
    told.fails("build DIR/bad.ndjson --data-dir DIR/built --strict");
    assert!(!Path::new(&told.at("built")).exists(), "a build that stopped leaves what it made");
    told.fails("load DIR/bad.ndjson --data-dir DIR/data --strict");
    write(told, "none.ndjson", "first\n{\"key\":1}\n");
    told.fails("build DIR/none.ndjson --data-dir DIR/built");
    told.fails("load DIR/none.ndjson --data-dir DIR/built");
    assert!(!Path::new(&told.at("built")).exists(), "a file without a record makes no directory");
    told.fails("load DIR/none.ndjson --data-dir DIR/data");
    write(told, "rows.csv", "id,name\n1,one\n");
    told.fails("load DIR/rows.csv --data-dir DIR/data");
    write(told, "twice.csv", "key,key\n1,one\n");
    told.fails("load DIR/twice.csv --data-dir DIR/data");
    write(told, "repeated.ndjson", "{\"key\":1,\"value\":\"x\"}\n{\"key\":1,\"value\":\"y\"}\n");
    told.fails("build DIR/repeated.ndjson --unique --data-dir DIR/unique");
    told.fails("build DIR/records.txt --format ndjson --data-dir DIR/data");
    told.fails("dump DIR/records.txt --format ndjson --data-dir DIR/data");
}

#[test]
fn every_mistake_is_told_what_to_do_next() {
    let (parent, _) = fresh();
    let place = parent.path().canonicalize().unwrap();
    let mut told = Transcript { place, text: String::new(), errors: 0 };

    // Words that make no sense.
    told.fails("fetch 1");
    told.fails("get seven");
    told.fails("get 18446744073709551616");
    told.fails("put 1");
    told.fails("del");
    told.fails("del --from 1");
    told.fails("scan --from 2 --to 1");
    told.fails("serve 127.0.0.1 99999");
    told.fails("serve --durability sometimes");
    told.fails("man fetch");
    told.fails("top --url nonsense");
    told.fails("get 1 --url https://db.example");
    told.fails("get 1 --url http://127.0.0.1:1 --data-dir DIR/data");
    told.fails("backup --data-dir DIR/data");

    // A database that is not there, or a key.
    told.fails("get 1 --data-dir DIR/nowhere");
    told.fails("compact --data-dir DIR/nowhere");
    told.fails("verify DIR/nowhere");
    told.fails("inspect DIR/nowhere");
    told.fails("get 1 --url http://127.0.0.1:1");
    told.fails("healthcheck --url http://127.0.0.1:1");
    told.works("put 1 one --data-dir DIR/data");
    told.fails("get 2 --data-dir DIR/data");
    told.fails("del 2 --data-dir DIR/data");
    told.fails("del --from 0 --to 9 --data-dir DIR/data");
    told.fails("rollback 5 --data-dir DIR/data");
    told.fails("push DIR/nowhere --data-dir DIR/data");
    fs::create_dir(told.at("photos")).unwrap();
    write(&told, "photos/me.jpg", "not a database");
    told.fails("serve 127.0.0.1 0 --data-dir DIR/photos");
    told.fails("inspect DIR/photos/me.jpg");

    files_of_records(&mut told);

    // Backups.
    told.fails("backup --to DIR/backups --name a/b --data-dir DIR/data");
    told.works("backup --to DIR/backups --name one --copy --data-dir DIR/data");
    told.fails("backup --to DIR/backups --name one --data-dir DIR/data");
    told.fails("restore DIR/backups/one --data-dir DIR/data");
    told.fails("restore DIR/photos --data-dir DIR/new");
    flip(&file_with_ending(Path::new(&told.at("backups/one/runs")), "run"), 4100);
    told.fails("restore DIR/backups/one --data-dir DIR/new");

    // A server's settings, and its refusals.
    told.fails("serve 0.0.0.0 0");
    write(&told, "token", "secret\n");
    fs::set_permissions(told.at("token"), fs::Permissions::from_mode(0o644)).unwrap();
    told.fails("serve 127.0.0.1 0 --auth-token-file DIR/token");
    write(&told, "typo.toml", "prot = 8080\n");
    told.fails("serve --config DIR/typo.toml");
    write(&told, "wrong.toml", "port = 'eighty'\n");
    told.fails("serve --config DIR/wrong.toml");
    write(&told, "broken.toml", "port = \n");
    told.fails("serve --config DIR/broken.toml");
    let mut serve = command();
    serve.env("KYRODB_AUTH_TOKEN", "admin").env("KYRODB_READ_TOKEN", "reader");
    serve.args(["serve", "127.0.0.1", "0", "--data-dir"]).arg(told.at("data"));
    let server = Server::spawn(serve);
    let url = format!("--url http://{}", server.address);
    told.fails(&format!("get 1 {url}"));
    told.fails_with(&format!("put 1 x {url}"), &[("KYRODB_AUTH_TOKEN", "reader")]);
    let admin = [("KYRODB_AUTH_TOKEN", "admin")];
    told.fails_with(&format!("get 9 {url}"), &admin);
    told.fails_with(&format!("backup {url} --name one"), &admin);
    told.fails_with(&format!("push tonight {url}"), &admin);
    told.fails("put 1 x --data-dir DIR/data");
    told.fails("verify DIR/data");
    told.fails("load DIR/bad.ndjson --data-dir DIR/data");
    told.fails(&format!("serve 127.0.0.1 {} --data-dir DIR/other", server.address.port()));
    assert_eq!(server.stop().0, 0);

    // Damage.
    told.works("repair DIR/data --into DIR/copy");
    told.fails("repair DIR/data --into DIR/copy");
    flip(&file_with_ending(Path::new(&told.at("data/runs")), "run"), 10);
    told.fails("serve 127.0.0.1 0 --data-dir DIR/data");
    fs::remove_file(file_with_ending(Path::new(&told.at("data/runs")), "run")).unwrap();
    told.fails("put 2 two --data-dir DIR/data");
    write(&told, "data/MANIFEST", "{\"kyrodb_manifest\":99,\"crc32\":\"00000000\",\"body\":{}}\n");
    told.fails("get 1 --data-dir DIR/data");
    write(&told, "data/MANIFEST", "garbage");
    told.fails("compact --data-dir DIR/data");

    assert!(told.errors >= 55, "{}", told.errors);
    // The server's port is of this run.
    let port = server_port(&told.text);
    insta::assert_snapshot!("messages", told.text.replace(&port, "[PORT]").trim_end());
}

/// The port in the commands, which the loop above leaves as it was typed.
fn server_port(text: &str) -> String {
    let ports =
        text.lines().filter_map(|line| line.strip_prefix("$ kyro-http get 1 --url http://127.0.0.1:"));
    let mut ports = ports.filter(|port| port.len() > 1 && port.bytes().all(|byte| byte.is_ascii_digit()));
    ports.next().expect("a command names the server").to_owned()
}

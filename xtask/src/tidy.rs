//! `cargo xtask tidy`: what the compiler does not check about the tree.
#![expect(clippy::print_stdout, reason = "long files are listed for the person who runs the chore")]

use crate::Outcome;
use crate::rust_source::{attributes, code_only, line_of, opens_with_docs, words};
use crate::tree::{ProjectFile, Tree, root};
use crate::violation::{Violation, verdict};

/// Everything that lies at the top level, beside names that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "kyro-wal",
    "kyro-snapshot",
    "kyro-rmi",
    "kyro-simd",
    "kyro-engine",
    "kyro-http",
    "kyro-bench",
    "xtask",
    "docs",
    "ops",
];

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Where `unsafe` may stand: a file, or a directory that ends in `/`; and why it has to.
const UNSAFE_PLACES: &[(&str, &str)] = &[
    ("kyro-simd/src/", "vendor intrinsics and prefetch"),
    ("kyro-snapshot/src/mapping.rs", "mapping a file into memory"),
    ("kyro-snapshot/src/residency.rs", "asking the kernel which pages are in memory; no safe interface does"),
    (
        "kyro-engine/src/published.rs",
        "following a pointer that a reader's note keeps valid, without a locked instruction",
    ),
    ("kyro-engine/tests/memory.rs", "an allocator that counts; no part of the product"),
    ("kyro-bench/src/kv/lmdb.rs", "opening a rival's memory map; no part of the product"),
];

/// Macros that mark unfinished work.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// Places outside the project that a file must not lean on.
const OUTSIDE: &[&str] = &[concat!("..", "/shared"), concat!("/", "work/")];

/// Lines a source file should stay under, and must stay within.
const LINES_WANTED: usize = 400;
const LINES_MAX: usize = 600;

/// Checks the tree this tool was built in, and lists the long files.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    crate::refuse_arguments(arguments)?;
    let tree = Tree::read(&root())?;
    for (path, lines) in long_files(&tree) {
        println!("warning: {path} has {lines} lines; over {LINES_WANTED} it is perhaps two subjects");
    }
    verdict(check(&tree, UNSAFE_PLACES))
}

/// Rust files over the length wanted, longest first.
fn long_files(tree: &Tree) -> Vec<(&str, usize)> {
    let mut long: Vec<_> = rust_files(tree)
        .map(|(file, text)| (file.path.as_str(), text.lines().count()))
        .filter(|(_, lines)| (LINES_WANTED + 1..=LINES_MAX).contains(lines))
        .collect();
    long.sort_by_key(|(path, lines)| (std::cmp::Reverse(*lines), *path));
    long
}

/// Every broken rule of `tree`, with `unsafe` allowed in `unsafe_places` only.
fn check(tree: &Tree, unsafe_places: &[(&str, &str)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for name in
        tree.top_level.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()))
    {
        violations.push(Violation::new(
            name,
            "not part of the top level",
            format!("move it; the top level is {} and dot files", TOP_LEVEL.join(", ")),
        ));
    }
    for file in &tree.files {
        empty_names(file, &mut violations);
        outside(file, &mut violations);
    }
    let mut unsafe_used = vec![false; unsafe_places.len()];
    for (file, text) in rust_files(tree) {
        let code = code_only(text);
        if !opens_with_docs(text) {
            violations.push(Violation::new(
                &file.path,
                "does not open with //!",
                "say in its first line what the module holds",
            ));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            violations.push(Violation::new(
                &file.path,
                format!("{lines} lines, the most is {LINES_MAX}"),
                "give each of its subjects a file of its own",
            ));
        }
        unfinished(file, &code, &mut violations);
        place_of_unsafe(file, &code, unsafe_places, &mut unsafe_used, &mut violations);
    }
    for ((place, _), used) in unsafe_places.iter().zip(unsafe_used) {
        if !used {
            violations.push(Violation::new(
                "xtask/src/tidy.rs",
                format!("UNSAFE_PLACES lists {place}, where no unsafe code is"),
                "take it out of the list",
            ));
        }
    }
    violations
}

fn rust_files(tree: &Tree) -> impl Iterator<Item = (&ProjectFile, &str)> {
    tree.files.iter().filter(|file| file.is_rust()).filter_map(|file| Some((file, file.text.as_deref()?)))
}

fn empty_names(file: &ProjectFile, violations: &mut Vec<Violation>) {
    for component in file.path.split('/') {
        let stem = component.split('.').next().unwrap_or(component).to_ascii_lowercase();
        if EMPTY_NAMES.contains(&stem.as_str()) {
            violations.push(Violation::new(
                &file.path,
                format!("{component:?} says nothing about what it holds"),
                "name it for its subject",
            ));
        }
    }
}

fn outside(file: &ProjectFile, violations: &mut Vec<Violation>) {
    let Some(text) = &file.text else { return };
    for place in OUTSIDE {
        for (at, _) in text.match_indices(place) {
            violations.push(Violation::new(
                format!("{}:{}", file.path, line_of(text, at)),
                format!("mentions {place}, which lies outside the project"),
                "take the path as an argument, or keep what is needed in the project",
            ));
        }
    }
}

fn unfinished(file: &ProjectFile, code: &str, violations: &mut Vec<Violation>) {
    let mut report = |at: usize, what: String, remedy: &str| {
        violations.push(Violation::new(format!("{}:{}", file.path, line_of(code, at)), what, remedy));
    };
    for name in UNFINISHED {
        for at in words(code, name) {
            if code.get(at + name.len()..).is_some_and(|rest| rest.trim_start().starts_with('!')) {
                report(at, format!("{name}! marks unfinished work"), "finish it or take it out");
            }
        }
    }
    for (at, attribute) in attributes(code) {
        if words(attribute, "ignore").next().is_some() {
            report(
                at,
                "an ignored test tests nothing".to_owned(),
                "make it run, or make it a chore of xtask",
            );
        }
    }
}

fn place_of_unsafe(
    file: &ProjectFile,
    code: &str,
    places: &[(&str, &str)],
    used: &mut [bool],
    violations: &mut Vec<Violation>,
) {
    let listed = places
        .iter()
        .position(|(place, _)| file.path == *place || (place.ends_with('/') && file.path.starts_with(place)));
    for at in words(code, "unsafe") {
        match listed.and_then(|row| used.get_mut(row)) {
            Some(row) => *row = true,
            None => violations.push(Violation::new(
                format!("{}:{}", file.path, line_of(code, at)),
                "unsafe code outside the listed places",
                "write it safely, or list the file with its reason in UNSAFE_PLACES of xtask/src/tidy.rs",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::assert_only;

    const SOUND: &str = "//! Words.\n\nfn f() {}\n";

    /// A tree of one file.
    fn tree_of(path: &str, text: &str) -> Tree {
        let file = ProjectFile { path: path.to_owned(), text: Some(text.to_owned()) };
        Tree { files: vec![file], top_level: vec!["xtask".to_owned(), ".ci".to_owned()] }
    }

    fn found(path: &str, text: &str) -> Vec<Violation> {
        check(&tree_of(path, text), &[])
    }

    #[test]
    fn this_tree_is_tidy() {
        if let Err(error) = run(&[]) {
            panic!("{error}");
        }
    }

    #[test]
    fn a_sound_file_passes() {
        assert_eq!(found("kyro-wal/src/log.rs", SOUND), []);
        assert_eq!(found("docs/notes.md", "no //! here, todo! and unsafe are words"), []);
    }

    #[test]
    fn a_module_without_docs_is_reported() {
        assert_only(&found("kyro-wal/src/log.rs", "fn f() {}\n"), &["kyro-wal/src/log.rs", "//!"]);
    }

    #[test]
    fn the_length_is_bounded_and_long_files_are_listed() {
        let of_lines = |lines: usize| format!("//! Words.\n{}", "\n".repeat(lines - 1));
        assert_eq!(found("a/b.rs", &of_lines(LINES_MAX)), []);
        assert_only(&found("a/b.rs", &of_lines(LINES_MAX + 1)), &["601 lines", "a/b.rs"]);
        assert_eq!(long_files(&tree_of("a/b.rs", &of_lines(LINES_WANTED))), []);
        assert_eq!(long_files(&tree_of("a/b.rs", &of_lines(LINES_WANTED + 1))), [("a/b.rs", 401)]);
    }

    #[test]
    fn unsafe_stands_only_where_it_is_listed() {
        let text = "//! Words.\nfn f() {\n    unsafe { g() }\n}\n";
        assert_only(
            &found("kyro-wal/src/log.rs", text),
            &["kyro-wal/src/log.rs:3", "unsafe", "UNSAFE_PLACES"],
        );
        for place in ["kyro-wal/src/log.rs", "kyro-wal/src/"] {
            assert_eq!(check(&tree_of("kyro-wal/src/log.rs", text), &[(place, "a reason")]), []);
        }
        let near = check(&tree_of("kyro-wal/src/log.rs", text), &[("kyro-wal/src/lo", "a reason")]);
        assert_eq!(near.len(), 2, "{near:#?}");
        assert_eq!(found("a/b.rs", "//! Of unsafe code.\n// unsafe\nconst A: &str = \"unsafe\";\n"), []);
    }

    #[test]
    fn a_listed_place_without_unsafe_is_reported() {
        let idle = check(&tree_of("kyro-wal/src/log.rs", SOUND), &[("kyro-wal/src/log.rs", "a reason")]);
        assert_only(&idle, &["kyro-wal/src/log.rs", "take it out of the list"]);
    }

    #[test]
    fn unfinished_work_is_reported() {
        for (line, word) in [
            ("fn f() { todo!() }", "todo!"),
            ("fn f() { unimplemented ! (\"x\") }", "unimplemented!"),
            ("fn f() { std::dbg!(1); }", "dbg!"),
            ("#[ignore]", "ignored test"),
            ("#[ignore = \"slow\"]", "ignored test"),
            ("#[cfg_attr(miri, ignore)]", "ignored test"),
        ] {
            assert_only(&found("a/b.rs", &format!("//! Words.\n{line}\n")), &["a/b.rs:2", word]);
        }
        assert_eq!(found("a/b.rs", "//! todo!\nfn f() { let ignore = \"dbg!\"; todo(ignore) }\n"), []);
    }

    #[test]
    fn the_top_level_is_fixed() {
        let mut tree = tree_of("a/b.rs", SOUND);
        tree.top_level.push("scripts".to_owned());
        assert_only(&check(&tree, &[]), &["scripts", "top level"]);
    }

    #[test]
    fn names_that_say_nothing_are_reported() {
        for path in ["a/src/utils.rs", "a/tests/common/mod.rs", "a/src/Helpers.rs", "docs/manager.md"] {
            assert_only(&found(path, SOUND), &[path, "says nothing"]);
        }
        assert_eq!(found("a/src/commonest.rs", SOUND), []);
    }

    #[test]
    fn files_do_not_lean_on_places_outside() {
        for place in OUTSIDE {
            let text = format!("line\ncat {place}/file\n");
            assert_only(&found("docs/a.md", &text), &["docs/a.md:2", place]);
        }
        assert_eq!(found("docs/a.md", "shared/ and framework/ are fine\n"), []);
    }
}

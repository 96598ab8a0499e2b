//! Rust source with everything that is not code blanked out, so that a rule about code does not trip over a comment
//! or a string that mentions it.

/// `text` with comments, string literals and character literals replaced by spaces. Line breaks stay where they
/// are, so a position still tells its line.
pub(crate) fn code_only(text: &str) -> String {
    let mut blanked = Blanker { rest: text, code: String::with_capacity(text.len()) };
    while !blanked.rest.is_empty() {
        blanked.step();
    }
    blanked.code
}

/// The line, from 1, of the byte `position` in `text`.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

/// The positions at which `word` stands in `code` as a whole identifier.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The attributes of `code`, `#[…]` and `#![…]`, with the position of each.
pub(crate) fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices('#').filter_map(|(at, _)| {
        let inside = code.get(at + 1..)?.trim_start_matches('!').trim_start();
        let end = closing_bracket(inside)?;
        Some((at, inside.get(..=end)?))
    })
}

/// Whether `text` opens with module documentation; attributes of the module may come before it.
pub(crate) fn opens_with_docs(text: &str) -> bool {
    let code = code_only(text);
    let mut at = 0;
    loop {
        let (Some(rest), Some(rest_code)) = (text.get(at..), code.get(at..)) else { return false };
        let blanks = rest.len() - rest.trim_start().len();
        if blanks > 0 {
            at += blanks;
        } else if rest_code.starts_with("#![")
            && let Some(end) = rest_code.get(2..).and_then(closing_bracket)
        {
            at += 2 + end + 1;
        } else {
            let first = rest.lines().next().unwrap_or("");
            return first.strip_prefix("//!").is_some_and(|words| !words.trim().is_empty());
        }
    }
}

/// Where the bracket that opens `code` closes; nothing if `code` opens with something else or never closes.
fn closing_bracket(code: &str) -> Option<usize> {
    if !code.starts_with('[') {
        return None;
    }
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' if depth == 1 => return Some(at),
            b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// What is left to read, and what has been written.
struct Blanker<'a> {
    rest: &'a str,
    code: String,
}

impl Blanker<'_> {
    /// Reads one token: a comment, a literal, an identifier, or one other character.
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment(self.rest));
        } else if let Some(length) = raw_string(self.rest) {
            self.blank(length);
        } else if let Some(prefix) =
            ["b\"", "c\"", "\""].iter().find(|prefix| self.rest.starts_with(**prefix))
        {
            self.blank(quoted(self.rest, prefix.len(), '"'));
        } else if let Some(length) = character_literal(self.rest) {
            self.blank(length);
        } else {
            let word = self.rest.find(|character| !is_word(character)).unwrap_or(self.rest.len());
            let first = self.rest.chars().next().map_or(1, char::len_utf8);
            self.keep(word.max(first));
        }
    }

    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        // Byte for byte, so that positions in the code are positions in the text.
        self.code.extend(gone.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at(length);
        self.code.push_str(kept);
        self.rest = rest;
    }
}

/// The length of the block comment that opens `text`; block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the raw string that opens `text`, if one does.
fn raw_string(text: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after.trim_start_matches('#').strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

/// The length of the literal that opens `text`, whose body starts at `start` and ends at an unescaped `quote`.
fn quoted(text: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip_while(|(at, _)| *at < start) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + 1;
        }
    }
    text.len()
}

/// The length of the character or byte literal that opens `text`, if one does; a lifetime is none.
fn character_literal(text: &str) -> Option<usize> {
    let start = if text.starts_with("b'") { 2 } else { 1 };
    let mut body = text.strip_prefix("b'").or_else(|| text.strip_prefix('\''))?.chars();
    let first = body.next()?;
    (first == '\\' || body.next() == Some('\'')).then(|| quoted(text, start, '\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let cases = [
            ("a // unsafe\nb", "a          \nb"),
            ("a /* unsafe /* x */ y */ b", "a                        b"),
            ("f(\"unsafe \\\" {\")", "f(             )"),
            ("f(r#\"a\" unsafe\"#)", "f(              )"),
            ("f(b\"x\", 'u', b'\\'', '\"')", "f(    ,    ,      ,    )"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("number(1) // é\nx", "number(1)      \nx"),
            ("unsafe { x }", "unsafe { x }"),
            ("\"never closed", "             "),
        ];
        for (text, code) in cases {
            assert_eq!(code_only(text), code, "{text}");
            assert_eq!(code_only(text).len(), text.len(), "{text}");
        }
    }

    #[test]
    fn words_are_whole_words() {
        let code = "unsafe_code unsafe { } my_unsafe (unsafe) unsafely unsafe";
        assert_eq!(words(code, "unsafe").count(), 3);
        assert_eq!(words("_unsafe", "unsafe").count(), 0);
    }

    #[test]
    fn attributes_end_where_their_bracket_closes() {
        let code = "#![deny(x)] #[cfg_attr(miri, ignore)] let a = b[0]; #[a[b]] c]";
        let found: Vec<&str> = attributes(code).map(|(_, text)| text).collect();
        assert_eq!(found, ["[deny(x)]", "[cfg_attr(miri, ignore)]", "[a[b]]"]);
    }

    #[test]
    fn module_docs_may_follow_attributes_only() {
        for text in [
            "//! Words.\n",
            "\n#![expect(unsafe_code, reason = \"a ] b\")]\n#![no_std]\n\n//! Words.\n",
            "#![expect(\n    unsafe_code,\n)]\n//! Words.",
        ] {
            assert!(opens_with_docs(text), "{text}");
        }
        for text in
            ["", "//!\n", "//! \n", "/// Words.\n", "use std;\n//! Words.\n", "// note\n//! Words.\n", "#!["]
        {
            assert!(!opens_with_docs(text), "{text}");
        }
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}

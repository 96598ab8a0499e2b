//! A broken rule: where, what, and what to change.

use crate::Outcome;
use std::fmt;

/// One broken rule. Sorted by place, so that a report reads file by file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, line or crate.
    place: String,
    /// What is wrong there.
    what: String,
    /// What the reader should do about it.
    remedy: String,
}

impl Violation {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.what, self.remedy)
    }
}

/// Nothing broken is success; otherwise an error that lists every violation.
pub(crate) fn verdict(mut violations: Vec<Violation>) -> Outcome {
    if violations.is_empty() {
        return Ok(());
    }
    violations.sort();
    let mut lines = vec![format!("{} to change", violations.len())];
    lines.extend(violations.iter().map(ToString::to_string));
    Err(lines.join("\n\n").into())
}

/// Test support: fails unless exactly one violation was found and its text holds every one of `parts`.
#[cfg(test)]
pub(crate) fn assert_only(violations: &[Violation], parts: &[&str]) {
    assert_eq!(violations.len(), 1, "{violations:#?}");
    let text = violations[0].to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_lists_every_violation_with_its_remedy() {
        assert!(verdict(Vec::new()).is_ok());
        let broken =
            vec![Violation::new("b.rs", "too long", "split it"), Violation::new("a.rs", "no docs", "write")];
        let text = verdict(broken).unwrap_err().to_string();
        assert!(text.contains("2 to change") && text.contains("split it"), "{text}");
        assert!(text.find("a.rs") < text.find("b.rs"), "{text}");
    }
}

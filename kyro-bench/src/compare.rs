//! Two records of one group against each other.
//!
//! A figure of another hour says more of the hour than of the program. So what is compared are the ratios of a report: each
//! of a figure against a rival, a floor or a limit in the same run, and each with more being better.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::Table;

/// A ratio of two figures of one run; more is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Of what: the same in every record.
    pub name: String,
    /// The median.
    pub ratio: f64,
    /// Who is meant where the name says "the best rival": it may be another one in the next record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
}

impl Ratio {
    /// A ratio against what its name says.
    pub fn new(name: String, ratio: f64) -> Self {
        Self { name, ratio, rival: None }
    }

    /// The same, of which `rival` was the best one.
    #[must_use]
    pub fn against(self, rival: &str) -> Self {
        Self { rival: Some(rival.to_owned()), ..self }
    }
}

/// What became of the ratios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Commits of the records, old and new.
    pub commits: [String; 2],
    /// How many times smaller a ratio may have become.
    pub allowed: f64,
    /// Ratios of both: name, old, new.
    pub both: Vec<(String, f64, f64)>,
    /// Ratios that the new record has no more.
    pub gone: Vec<String>,
}

/// Records that cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// Not a report, or one of a group without ratios.
    #[error("the {0} record has no ratios: it is no report of a group, or an old one")]
    NoRatios(&'static str),
    /// Reports of two groups.
    #[error("the records are of two groups: {0:?} and {1:?}")]
    Groups(String, String),
    /// Nothing of one is in the other.
    #[error("the records have nothing in common")]
    NothingInCommon,
}

/// Compares the reports `old` and `new`; a ratio that is more than `allowed` times smaller is a regression.
///
/// # Errors
/// [`CompareError`].
pub fn compare(old: &Value, new: &Value, allowed: f64) -> Result<Comparison, CompareError> {
    let title = |report: &Value| report["title"].as_str().unwrap_or_default().to_owned();
    if title(old) != title(new) {
        return Err(CompareError::Groups(title(old), title(new)));
    }
    let ratios = |report: &Value, which| -> Result<Vec<Ratio>, CompareError> {
        let ratios = serde_json::from_value(report["results"]["ratios"].clone());
        ratios.map_err(|_| CompareError::NoRatios(which))
    };
    let new_ratios: BTreeMap<String, f64> =
        ratios(new, "new")?.into_iter().map(|Ratio { name, ratio, .. }| (name, ratio)).collect();
    let commit = |report: &Value| report["commit"].as_str().unwrap_or("unknown").to_owned();
    let mut comparison = Comparison { commits: [commit(old), commit(new)], allowed, ..Comparison::default() };
    for Ratio { name, ratio, .. } in ratios(old, "old")? {
        match new_ratios.get(&name) {
            Some(&now) => comparison.both.push((name, ratio, now)),
            None => comparison.gone.push(name),
        }
    }
    if comparison.both.is_empty() { Err(CompareError::NothingInCommon) } else { Ok(comparison) }
}

impl Comparison {
    /// The ratios that are more than allowed times smaller.
    pub fn regressions(&self) -> impl Iterator<Item = &(String, f64, f64)> {
        self.both.iter().filter(|(_, old, new)| self.is_worse(*old, *new))
    }

    fn is_worse(&self, old: f64, new: f64) -> bool {
        new * self.allowed < old
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = &self.commits;
        writeln!(out, "# {old} → {new}\n\nRatios within a run; more is better.\n")?;
        let mut table = Table::new(["", "old", "new", "new / old", ""]);
        for (name, old, new) in &self.both {
            let mark = if self.is_worse(*old, *new) { "WORSE" } else { "" };
            table.row([
                name.clone(),
                format!("{old:.2}"),
                format!("{new:.2}"),
                format!("{:.2}", new / old),
                mark.to_owned(),
            ]);
        }
        writeln!(out, "{table}")?;
        for name in &self.gone {
            writeln!(out, "- no longer measured: {name}")?;
        }
        let worse = self.regressions().count();
        writeln!(out, "{worse} of {} are more than {} times smaller.", self.both.len(), self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(title: &str, ratios: &[(&str, f64)]) -> Value {
        let ratios: Vec<Ratio> =
            ratios.iter().map(|&(name, ratio)| Ratio::new(name.to_owned(), ratio)).collect();
        serde_json::json!({ "title": title, "commit": "abc", "results": { "ratios": ratios } })
    }

    #[test]
    fn what_shrank_too_much_is_found() {
        let old = report("Engine", &[("get", 4.0), ("scan", 1.0), ("load", 2.0)]);
        let new = report("Engine", &[("get", 3.3), ("scan", 0.7)]);
        let comparison = compare(&old, &new, 1.25).unwrap();
        let worse: Vec<&str> = comparison.regressions().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(worse, ["scan"]);
        assert_eq!(comparison.gone, ["load"]);
        let text = comparison.to_string();
        assert!(
            text.contains("WORSE") && text.ends_with("1 of 2 are more than 1.25 times smaller.\n"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let engine = report("Engine", &[("get", 4.0)]);
        let refused = |new: &Value| compare(&engine, new, 1.25).unwrap_err().to_string();
        assert!(refused(&report("HTTP server", &[("get", 4.0)])).contains("two groups"));
        assert!(refused(&report("Engine", &[("put", 4.0)])).contains("nothing in common"));
        assert!(refused(&serde_json::json!({ "title": "Engine" })).contains("the new record has no ratios"));
    }
}

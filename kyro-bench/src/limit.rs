//! What a figure is held to.

use std::fmt;

/// A bound on a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The figure should be this or less.
    AtMost(f64),
    /// The figure should be this or more.
    AtLeast(f64),
}

impl Limit {
    /// Whether `figure` is within the bound.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }

    /// The figure that is furthest on the wrong side, with whatever it belongs to.
    pub fn worst<T>(self, figures: impl Iterator<Item = (f64, T)>) -> Option<(f64, T)> {
        match self {
            Self::AtMost(_) => figures.max_by(|one, other| one.0.total_cmp(&other.0)),
            Self::AtLeast(_) => figures.min_by(|one, other| one.0.total_cmp(&other.0)),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(out, "≤ {limit}"),
            Self::AtLeast(limit) => write!(out, "≥ {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_on_their_side() {
        let (most, least) = (Limit::AtMost(2.0), Limit::AtLeast(2.0));
        assert_eq!([1.0, 2.0, 3.0].map(|figure| most.is_met(figure)), [true, true, false]);
        assert_eq!([1.0, 2.0, 3.0].map(|figure| least.is_met(figure)), [false, true, true]);
        let figures = || [(1.0, 'a'), (3.0, 'b')].into_iter();
        assert_eq!((most.worst(figures()), least.worst(figures())), (Some((3.0, 'b')), Some((1.0, 'a'))));
        assert_eq!((most.to_string(), least.to_string()), ("≤ 2".to_owned(), "≥ 2".to_owned()));
    }
}

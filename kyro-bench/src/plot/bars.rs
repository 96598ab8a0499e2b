//! Groups of bars: one group for each name, one colour for each series.

use crate::plot::chart::{Axis, Chart, Marks, Series, short};

/// What a chart of bars is made of.
#[derive(Debug)]
pub(super) struct Bars<'a> {
    /// The title of the chart.
    pub(super) title: String,
    /// The line below it.
    pub(super) subtitle: String,
    /// What the bars tell, with its unit.
    pub(super) label: &'a str,
    /// Texts below the groups.
    pub(super) groups: Vec<String>,
    /// Name, and a value for each group; none where it was not measured.
    pub(super) series: Vec<(String, Vec<Option<f64>>)>,
    /// Whether the bars differ by so much that only their logarithms can be drawn.
    pub(super) log: bool,
}

/// Share of a group's width that its bars take.
const FILLED: f64 = 0.84;

impl Bars<'_> {
    /// The chart; `None` without a value.
    pub(super) fn chart(self) -> Option<Chart> {
        let Self { title, subtitle, label, groups, series, log } = self;
        let values = || series.iter().flat_map(|(_, values)| values.iter().copied().flatten());
        values().next()?;
        let y = if log {
            let mut axis = Axis::log(label, values(), short);
            // The least bar must not be flat.
            axis.range.start -= 0.15;
            axis
        } else {
            Axis::linear(label, values(), short)
        };
        let position = |value: f64| if log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let width = FILLED / series.len().max(1) as f64;
        let (mut notes, mut drawn) = (Vec::new(), Vec::new());
        // Values are written above their bars where there is room for the digits.
        let has_room = series.len() * groups.len() <= 20;
        for (index, (name, values)) in series.iter().enumerate() {
            let mut bars = Vec::new();
            for (group, value) in values.iter().enumerate() {
                let Some(value) = *value else { continue };
                let left = group as f64 + (1.0 - FILLED) / 2.0 + width * index as f64;
                bars.push((left, left + width * 0.94, position(value)));
                if has_room {
                    notes.push((left + width * 0.47, position(value), short(value)));
                }
            }
            drawn.push(Series { name: name.clone(), marks: Marks::Bars(bars) });
        }
        Some(Chart { title, subtitle, x: Axis::names("", &groups), y, series: drawn, notes })
    }
}

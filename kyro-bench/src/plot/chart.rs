//! A chart: two axes, marks, a legend, notes beside marks. Drawn as SVG.
//!
//! Axes are linear in what is called a position here; a logarithm, or the nines of a quantile, is taken by whoever makes
//! the chart, and told by the texts of the ticks. Text is SVG text in the reader's own sans-serif: nothing here looks for
//! a font.

use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::plot::PlotError;

/// Width and height of the picture, and of the legend beside the axes.
const SIZE: (u32, u32) = (1000, 560);
const LEGEND: u32 = 210;

/// Told apart with any kind of colour vision, and in grey (Okabe and Ito, 2008). The first is KyroDB's.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(60, 40, 120),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(224, 224, 224);

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// Where and of what, in a line below the title.
    pub(super) subtitle: String,
    /// From left to right.
    pub(super) x: Axis,
    /// From bottom to top.
    pub(super) y: Axis,
    /// In the order of the legend.
    pub(super) series: Vec<Series>,
    /// Texts above positions.
    pub(super) notes: Vec<(f64, f64, String)>,
}

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it means, with its unit.
    pub(super) label: String,
    /// From the first to the last position.
    pub(super) range: Range<f64>,
    /// Positions with their texts.
    pub(super) ticks: Vec<(f64, String)>,
    /// Whether a line is drawn across the chart at each tick.
    pub(super) grid: bool,
}

/// Marks of one colour.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// The text in the legend.
    pub(super) name: String,
    /// What is drawn.
    pub(super) marks: Marks,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) enum Marks {
    /// Points with a line through them.
    Line(Vec<(f64, f64)>),
    /// From the bottom up: left, right, top.
    Bars(Vec<(f64, f64, f64)>),
}

impl Axis {
    /// An axis of decades around `values`, which count when they are above 0, with ticks between the powers of ten where
    /// there are few. Positions are logarithms to base 10.
    pub(super) fn log(label: &str, values: impl Iterator<Item = f64>, unit: fn(f64) -> String) -> Self {
        let logs: Vec<f64> =
            values.filter(|value| *value > 0.0 && value.is_finite()).map(f64::log10).collect();
        let least = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (least, most) = if logs.is_empty() { (0.0, 1.0) } else { (least - 0.06, most + 0.12) };
        let few = most - least < 2.5;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let range = least..most;
        let mut ticks = Vec::new();
        let mut decade = least.floor();
        while decade <= most {
            for step in steps {
                let at = decade + step.log10();
                if range.contains(&at) {
                    ticks.push((at, unit(step * 10_f64.powf(decade))));
                }
            }
            decade += 1.0;
        }
        Self { label: label.to_owned(), range, ticks, grid: true }
    }

    /// From 0 to a little above the most of `values`.
    pub(super) fn linear(label: &str, values: impl Iterator<Item = f64>, unit: fn(f64) -> String) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most * 1.08 } else { 1.0 };
        // Four to ten ticks at a round distance.
        let rough = most / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0);
        let mut ticks = Vec::new();
        let mut at = 0.0;
        while at <= most {
            ticks.push((at, unit(at)));
            at += step;
        }
        Self { label: label.to_owned(), range: 0.0..most, ticks, grid: true }
    }

    /// One unit for each name, with its text in the middle.
    pub(super) fn names(label: &str, names: &[String]) -> Self {
        let ticks = names.iter().enumerate().map(|(index, name)| (index as f64 + 0.5, name.clone()));
        Self {
            label: label.to_owned(),
            range: 0.0..names.len().max(1) as f64,
            ticks: ticks.collect(),
            grid: false,
        }
    }

    fn coordinates(&self) -> Coordinates {
        Coordinates { line: self.range.clone().into(), ticks: self.ticks.iter().map(|(at, _)| *at).collect() }
    }

    /// The text of the tick at `at`.
    fn text(&self, at: f64) -> String {
        let nearest =
            self.ticks.iter().min_by(|one, other| (one.0 - at).abs().total_cmp(&(other.0 - at).abs()));
        nearest.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

/// A linear coordinate with ticks of its own.
struct Coordinates {
    line: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for Coordinates {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.line.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light points are those between ticks.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.line.range()
    }
}

impl Chart {
    /// Writes the chart to `path`.
    ///
    /// # Errors
    /// [`PlotError::Draw`].
    pub(super) fn write(&self, path: &Path) -> Result<(), PlotError> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|reason| PlotError::Draw { path: path.to_owned(), reason })?;
        // The backend asks for a font by the name that it was given, and a viewer may have none of that name.
        std::fs::write(path, svg).map_err(|source| PlotError::File { path: path.to_owned(), source })
    }

    fn draw(&self, svg: &mut String) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| failed(&error))?;
        let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
        root.draw(&Text::new(self.title.clone(), (24, 18), text(20))).map_err(|error| failed(&error))?;
        root.draw(&Text::new(self.subtitle.clone(), (24, 46), text(12))).map_err(|error| failed(&error))?;
        let (left, legend) = root.margin(66, 6, 10, 0).split_horizontally(SIZE.0 - LEGEND);

        let mut chart = ChartBuilder::on(&left)
            .margin_top(6)
            .margin_right(14)
            .x_label_area_size(52)
            .y_label_area_size(78)
            .build_cartesian_2d(self.x.coordinates(), self.y.coordinates())
            .map_err(|error| failed(&error))?;
        let mut mesh = chart.configure_mesh();
        if !self.x.grid {
            mesh.disable_x_mesh();
        }
        if !self.y.grid {
            mesh.disable_y_mesh();
        }
        mesh.x_desc(self.x.label.clone())
            .y_desc(self.y.label.clone())
            .x_label_formatter(&|at| self.x.text(*at))
            .y_label_formatter(&|at| self.y.text(*at))
            .axis_desc_style(text(14))
            .label_style(text(12))
            .axis_style(INK)
            .bold_line_style(GRID)
            .draw()
            .map_err(|error| failed(&error))?;
        let bottom = self.y.range.start;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            match &series.marks {
                Marks::Line(points) => {
                    let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
                    chart.draw_series(line).map_err(|error| failed(&error))?;
                }
                Marks::Bars(bars) => {
                    let bars = bars
                        .iter()
                        .map(|&(from, to, top)| Rectangle::new([(from, bottom), (to, top)], colour.filled()));
                    chart.draw_series(bars).map_err(|error| failed(&error))?;
                }
            }
        }
        let small = text(11).pos(Pos::new(HPos::Center, VPos::Bottom));
        let notes = self.notes.iter().map(|(x, y, note)| {
            // Lines do not run through a note: it stands on a ground of its own, as wide as its letters may be.
            let half = i32::try_from(note.chars().count() * 7 / 2).unwrap_or(0);
            EmptyElement::at((*x, *y))
                + Rectangle::new([(-half, -20), (half, -5)], WHITE.mix(0.85).filled())
                + Text::new(note.clone(), (0, -6), small.clone())
        });
        chart.draw_series(notes).map_err(|error| failed(&error))?;
        // Above the grounds of notes: no point is hidden.
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            if let Marks::Line(points) = &series.marks {
                let dots = points.iter().map(|&point| Circle::new(point, 4, colour.filled()));
                chart.draw_series(dots).map_err(|error| failed(&error))?;
            }
        }

        for ((series, colour), y) in self.series.iter().zip(COLOURS.iter().cycle()).zip((10..).step_by(24)) {
            let mark = Rectangle::new([(6, y), (20, y + 14)], colour.filled());
            legend.draw(&mark).map_err(|error| failed(&error))?;
            legend
                .draw(&Text::new(series.name.clone(), (28, y + 1), text(13)))
                .map_err(|error| failed(&error))?;
        }
        root.present().map_err(|error| failed(&error))
    }
}

/// A number as short as it can be told: `0.5`, `20`, `3 k`, `1.5 M`.
pub(super) fn short(value: f64) -> String {
    let magnitude = value.abs();
    let (scaled, unit) = if magnitude >= 1e9 {
        (value / 1e9, " G")
    } else if magnitude >= 1e6 {
        (value / 1e6, " M")
    } else if magnitude >= 1e3 {
        (value / 1e3, " k")
    } else {
        (value, "")
    };
    let digits = if scaled == 0.0 || scaled.abs() >= 100.0 {
        0
    } else if scaled.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{scaled:.digits$}");
    let text = if digits == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.5, 1.0, 20.0, 265.0, 1_500.0, 2_000_000.0, 97_300.0].map(short);
        assert_eq!(texts, ["0", "0.5", "1", "20", "265", "1.5 k", "2 M", "97.3 k"]);
    }

    #[test]
    fn decades_have_ticks() {
        let axis = Axis::log("ns", [40.0, 90_000.0].into_iter(), short);
        let texts: Vec<&str> = axis.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["100", "1 k", "10 k", "100 k"]);
        let few = Axis::log("ns", [40.0, 300.0].into_iter(), short);
        let texts: Vec<&str> = few.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["50", "100", "200"]);
        assert!(!Axis::log("nothing", std::iter::empty(), short).ticks.is_empty());
    }

    #[test]
    fn linear_axes_start_at_nothing() {
        let axis = Axis::linear("ms", [3.0, 61.0].into_iter(), short);
        assert_eq!(axis.ticks.first().map(|(_, text)| text.as_str()), Some("0"));
        assert!((4..=10).contains(&axis.ticks.len()), "{:?}", axis.ticks);
    }
}

//! Rows of the table: what was measured, against what, and what was promised.

use anyhow::Result;
use serde_json::{Value, json};

use crate::measure::Samples;

/// What a row has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// Our figure, at most.
    AtMost(f64),
    /// Our figure, at least.
    AtLeast(f64),
    /// Our figure over the baseline's, at most.
    RatioAtMost(f64),
    /// Our figure over the baseline's, at least.
    RatioAtLeast(f64),
}

/// A median and the tenth and ninetieth percentile around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
}

impl From<&Samples> for Figure {
    fn from(samples: &Samples) -> Self {
        Self {
            median: samples.median(),
            p10: samples.quantile(0.1),
            p90: samples.quantile(0.9),
        }
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self {
            median: value,
            p10: value,
            p90: value,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    group: &'static str,
    what: String,
    unit: &'static str,
    ours: Option<Figure>,
    baseline: Option<Figure>,
    ratio: Option<Figure>,
    samples: usize,
    targets: Vec<Target>,
    note: String,
    skipped: Option<String>,
    failed: bool,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, ours: &Samples) -> Self {
        Self {
            group: "",
            what: what.into(),
            unit,
            ours: Some(ours.into()),
            baseline: None,
            ratio: None,
            samples: ours.len(),
            targets: Vec::new(),
            note: String::new(),
            skipped: None,
            failed: false,
        }
    }

    /// A row that cannot be measured here.
    pub(crate) fn skipped(what: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut row = Self::new(what, "", &Samples::default());
        row.ours = None;
        row.skipped = Some(reason.into());
        row
    }

    /// A row whose measurement went wrong, which is not the same as being skipped.
    pub(crate) fn failed(group: &'static str, error: &anyhow::Error) -> Self {
        let mut row = Self::skipped(group, format!("failed: {error:#}"));
        row.group = group;
        row.failed = true;
        row
    }

    /// Measurements that were taken in turn with ours: the ratio is that of each pair, where every
    /// measurement has its pair, else the ratio of the medians.
    pub(crate) fn against(mut self, ours: &Samples, baseline: &Samples) -> Self {
        let ratio = if ours.len() == baseline.len() {
            Figure::from(&ours.zip(baseline, |a, b| a / b))
        } else {
            Figure::from(ours.median() / baseline.median())
        };
        self.baseline = Some(baseline.into());
        self.ratio = Some(ratio);
        self
    }

    /// The ratio is that of what each round came to, in place of that of single measurements.
    pub(crate) fn by_rounds(mut self, ours: &Samples, baseline: &Samples) -> Self {
        self.ratio = Some(Figure::from(&ours.zip(baseline, |a, b| a / b)));
        self
    }

    /// A figure that was not sampled.
    pub(crate) fn against_figure(mut self, baseline: f64) -> Self {
        self.ratio = self.ours.map(|ours| Figure::from(ours.median / baseline));
        self.baseline = Some(baseline.into());
        self
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Names the device in front of the note.
    pub(crate) fn on(mut self, device: &str) -> Self {
        self.note = format!("{device}; {}", self.note);
        self
    }

    pub(crate) fn in_group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Whether every target is reached; `None` if there is none or nothing was measured.
    fn met(&self) -> Option<bool> {
        let ours = self.ours?.median;
        if self.targets.is_empty() {
            return None;
        }
        Some(self.targets.iter().all(|target| match *target {
            Target::AtMost(bound) => ours <= bound,
            Target::AtLeast(bound) => ours >= bound,
            Target::RatioAtMost(bound) => self.ratio.is_some_and(|ratio| ratio.median <= bound),
            Target::RatioAtLeast(bound) => self.ratio.is_some_and(|ratio| ratio.median >= bound),
        }))
    }

    fn target_text(&self) -> String {
        let unit = self.unit;
        let texts = self.targets.iter().map(|target| match target {
            Target::AtMost(bound) => format!("<= {} {unit}", short(*bound)),
            Target::AtLeast(bound) => format!(">= {} {unit}", short(*bound)),
            Target::RatioAtMost(bound) => format!("<= {bound}x"),
            Target::RatioAtLeast(bound) => format!(">= {bound}x"),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    fn to_json(&self) -> Value {
        let spread = |figure: Option<Figure>| figure.map(|f| json!([f.p10, f.p90]));
        json!({
            "row": self.group, "what": self.what, "unit": self.unit,
            "ours": self.ours.map(|f| f.median), "baseline": self.baseline.map(|f| f.median), "ratio": self.ratio.map(|f| f.median),
            "spread": {"ours": spread(self.ours), "baseline": spread(self.baseline), "ratio": spread(self.ratio), "samples": self.samples},
            "target": self.target_text(), "met": self.met(), "note": self.note, "skipped": self.skipped,
        })
    }
}

/// Four significant digits, without an exponent.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

fn shown(figure: Option<Figure>) -> String {
    figure.map_or_else(String::new, |f| {
        if f.p10 == f.p90 {
            short(f.median)
        } else {
            format!("{} ({}..{})", short(f.median), short(f.p10), short(f.p90))
        }
    })
}

/// The table for people.
pub(crate) fn text(machine: &Value, rows: &[Row]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    if let Some(facts) = machine.as_object() {
        for (key, value) in facts {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(out, "{key:<12} {value}");
        }
    }
    let _ = writeln!(
        out,
        "\nMedian (10th..90th percentile). Ratio: ours over baseline, of the pairs of measurements or rounds.\n"
    );
    let head = ["what", "unit", "ours", "baseline", "ratio", "target", "met"].map(str::to_owned);
    let mut cells: Vec<[String; 7]> = vec![head];
    for row in rows {
        let met = match (&row.skipped, row.met()) {
            (Some(_), _) => "skipped",
            (None, Some(true)) => "yes",
            (None, Some(false)) => "NO",
            (None, None) => "",
        };
        cells.push([
            row.what.clone(),
            row.unit.to_owned(),
            shown(row.ours),
            shown(row.baseline),
            shown(row.ratio),
            row.target_text(),
            met.to_owned(),
        ]);
    }
    let width = |at: usize| {
        cells
            .iter()
            .filter_map(|c| c.get(at))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    for line in &cells {
        let padded = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width));
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    let notes = rows.iter().filter_map(|row| {
        let said = row
            .skipped
            .as_ref()
            .map(|reason| format!("skipped: {reason}"));
        let said = said.or_else(|| Some(row.note.clone()).filter(|note| !note.is_empty()))?;
        Some(format!("- {}: {said}", row.what))
    });
    let notes: Vec<String> = notes.collect();
    if !notes.is_empty() {
        let _ = writeln!(out, "\n{}", notes.join("\n"));
    }
    out
}

/// The table for programs: one object.
pub(crate) fn object(machine: &Value, rows: &[Row]) -> Result<String> {
    let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
    Ok(serde_json::to_string(
        &json!({"bench": "host", "machine": machine, "rows": rows}),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_met_only_if_every_target_is_reached_and_something_was_measured() {
        let ours = Samples::of(vec![20.0]);
        let row = |targets: &[Target]| {
            let mut row = Row::new("x", "us", &ours).against_figure(10.0);
            row.targets = targets.to_vec();
            row.met()
        };
        for (targets, met) in [
            (&[][..], None),
            (&[Target::AtMost(20.0)], Some(true)),
            (&[Target::AtMost(19.0)], Some(false)),
            (&[Target::AtLeast(21.0)], Some(false)),
            (
                &[Target::AtMost(25.0), Target::RatioAtMost(1.5)],
                Some(false),
            ),
            (&[Target::RatioAtLeast(2.0)], Some(true)),
        ] {
            assert_eq!(row(targets), met, "{targets:?}");
        }
        let skipped = Row::skipped("x", "no GPU").target(Target::AtMost(1.0));
        assert_eq!(
            (skipped.met(), skipped.to_json()["skipped"].as_str()),
            (None, Some("no GPU"))
        );
        let alone = Row::new("x", "us", &ours).target(Target::RatioAtMost(9.0));
        assert_eq!(
            alone.met(),
            Some(false),
            "a ratio without a baseline is no success"
        );
    }

    #[test]
    fn paired_measurements_are_compared_pair_by_pair() {
        // The machine became ten times slower half way; ours was twice as slow throughout.
        let (ours, baseline) = (
            Samples::of(vec![2.0, 20.0, 20.0]),
            Samples::of(vec![1.0, 10.0, 10.0]),
        );
        assert_eq!(
            Row::new("x", "s", &ours).against(&ours, &baseline).ratio,
            Some(Figure::from(2.0))
        );
    }

    #[test]
    fn a_ratio_is_shown_with_a_spread_of_its_own() {
        let pairs = |values: [f64; 5]| Samples::of(values.to_vec());
        let (ours, baseline) = (
            pairs([1.0, 2.0, 3.0, 4.0, 5.0]),
            pairs([1.0, 1.0, 1.0, 1.0, 1.0]),
        );
        let row = Row::new("x", "s", &ours).against(&ours, &baseline);
        assert_eq!(shown(row.ratio), "3.000 (1.000..5.000)");
        assert_eq!(row.to_json()["spread"]["ratio"], json!([1.0, 5.0]));
        let row = row.by_rounds(&pairs([2.0; 5]), &baseline);
        assert_eq!(shown(row.ratio), "2.000");
    }
}

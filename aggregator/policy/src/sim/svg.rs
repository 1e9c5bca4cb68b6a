//! Line charts as SVG. Written by hand: this much code needs no drawing crate, which would bring fonts or a
//! dozen dependencies, and the files are small enough to read.

use std::fmt::Write as _;

/// Size of a picture, in user units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
/// Where the axes are.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 460.0;
/// Colours, in turn; ours is the first.
const COLOURS: [&str; 10] = [
    "#0b6e4f", "#c1121f", "#1d4e89", "#e07a00", "#6a4c93", "#00798c", "#8d5524", "#d1495b",
    "#5c677d", "#2e933c",
];

/// An axis of numbers that go from least to most, counted in powers of ten if it is logarithmic.
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) log: bool,
}

impl Axis {
    /// Where a value is, 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let place = |x: f64| if self.log { x.log10() } else { x };
        let value = value.clamp(self.from.min(self.to), self.to.max(self.from));
        (place(value) - place(self.from)) / (place(self.to) - place(self.from))
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            let (from, to) = (
                self.from.log10().round() as i32,
                self.to.log10().round() as i32,
            );
            return (from..=to)
                .map(|e| (10f64.powi(e), format!("1e{e}")))
                .collect();
        }
        let step = (self.to - self.from) / 5.0;
        let tick = |i: i32| self.from + step * f64::from(i);
        (0..=5)
            .map(|i| (tick(i), format!("{:.2}", tick(i))))
            .collect()
    }
}

/// A picture under way.
pub(super) struct Chart {
    svg: String,
    x: Axis,
    y: Axis,
}

impl Chart {
    pub(super) fn new(title: &str, x: (Axis, &str), y: (Axis, &str)) -> Self {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"28\" font-size=\"16\">{title}</text>"
        );
        let (middle, height) = ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 42.0,
            x.1
        );
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{height}\" text-anchor=\"middle\" transform=\"rotate(-90 20 {height})\">{}</text>",
            y.1
        );
        let mut chart = Self {
            svg,
            x: x.0,
            y: y.0,
        };
        for (value, label) in chart.x.ticks() {
            let at = chart.place(value, chart.y.from).0;
            chart.line((at, TOP), (at, BOTTOM), "#ddd", 1.0);
            let _ = writeln!(
                chart.svg,
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                BOTTOM + 20.0
            );
        }
        for (value, label) in chart.y.ticks() {
            let at = chart.place(chart.x.from, value).1;
            chart.line((LEFT, at), (RIGHT, at), "#ddd", 1.0);
            let _ = writeln!(
                chart.svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        chart
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.at(x) * (RIGHT - LEFT);
        (across, BOTTOM - self.y.at(y) * (BOTTOM - TOP))
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.svg,
            "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
    }

    /// A line through points, with a dot at each and its name at the side.
    pub(super) fn series(&mut self, number: usize, name: &str, points: &[(f64, f64)]) {
        let colour = COLOURS
            .get(number % COLOURS.len())
            .copied()
            .unwrap_or("black");
        let places: Vec<(f64, f64)> = points.iter().map(|(x, y)| self.place(*x, *y)).collect();
        for pair in places.windows(2) {
            if let [from, to] = pair {
                self.line(*from, *to, colour, if number == 0 { 3.0 } else { 1.5 });
            }
        }
        for (x, y) in &places {
            let _ = writeln!(
                self.svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
            );
        }
        let row = TOP + 18.0 * number as f64;
        let _ = writeln!(
            self.svg,
            "<circle cx=\"{}\" cy=\"{row}\" r=\"5\" fill=\"{colour}\"/>",
            RIGHT + 20.0
        );
        let _ = writeln!(
            self.svg,
            "<text x=\"{}\" y=\"{}\">{name}</text>",
            RIGHT + 32.0,
            row + 4.0
        );
    }

    pub(super) fn end(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_place_and_count() {
        let log = Axis {
            from: 1e-9,
            to: 1.0,
            log: true,
        };
        assert!((log.at(1e-9), log.at(1.0)) == (0.0, 1.0) && (log.at(3.2e-5) - 0.5).abs() < 0.01);
        assert_eq!(log.at(0.0), 0.0, "nothing is drawn at the edge");
        assert_eq!(log.ticks().len(), 10);
        let plain = Axis {
            from: 1.0,
            to: 3.5,
            log: false,
        };
        assert_eq!((plain.at(2.25), plain.at(9.0)), (0.5, 1.0));
    }
}

//! Where text is: the first model says of every pixel how likely it belongs to a line, and pixels that hang together
//! become one box.

use assay::{Error, Tensor, model};

use crate::frame::stepped;
use crate::geometry::{Corners, Point, Rectangle, ordered};
use crate::picture::{COLOURS, Picture};

/// The name of the model in `job.toml`.
const MODEL: &str = "detect";

/// The model looks at a picture whose shorter side has at least this many pixels.
const SIDE_MIN: usize = 736;
/// A pixel is marked if it is more likely than this.
const MARK_MIN: f32 = 0.3;
/// A box counts if its pixels are on average at least as likely as this.
const BOX_MIN: f64 = 0.5;
/// Shorter side of a box in the model's map, at least; and after it was grown.
const NARROW_MIN: f64 = 3.0;
const NARROW_GROWN_MIN: f64 = 5.0;
/// The model marks the core of a line. By how much it is grown: its area times this for its perimeter.
const GROWTH: f64 = 1.6;
/// Sides of a box in the picture are longer than this.
const SIDE_FLOOR: f64 = 3.0;
/// Boxes whose tops are less apart than this stand in one row.
const ROW: f64 = 10.0;
/// Places that are looked at, at most.
const PLACES_MAX: usize = 1000;

/// How likely each pixel belongs to text.
struct Map {
    width: usize,
    height: usize,
    likely: Vec<f32>,
}

/// The corners of every line of text, from top to bottom, and from left to right within a row.
pub(crate) fn lines(picture: &Picture) -> Result<Vec<Corners>, Error> {
    let map = look(picture)?;
    let mut found = Vec::new();
    for points in places(&map) {
        if let Some(corners) = line(&map, points, picture) {
            found.push(corners);
        }
    }
    Ok(in_order(found))
}

fn look(picture: &Picture) -> Result<Map, Error> {
    let shorter = picture.width.min(picture.height).max(1);
    let ratio = (SIDE_MIN as f64 / shorter as f64).max(1.0);
    let [width, height] =
        [picture.width, picture.height].map(|side| stepped((side as f64 * ratio).floor()));
    let planes = picture.resized(width, height).planes(width);
    let planes = Tensor::from_slice(&planes, &[1, COLOURS, height, width])?;
    let outputs = model(MODEL)?.run([("x", &planes)])?;
    let likely: Vec<f32> = outputs.values("sigmoid_0.tmp_0")?;
    if likely.len() != width * height {
        let count = likely.len();
        return Err(Error::Model(format!(
            "{count} numbers for {width} by {height} pixels"
        )));
    }
    Ok(Map {
        width,
        height,
        likely,
    })
}

/// Groups of marked pixels that touch one another, corners included: of each group the ends of its runs, which is
/// enough to know its outline.
fn places(map: &Map) -> Vec<Vec<Point>> {
    let mut groups = Groups::default();
    let mut above: Vec<Run> = Vec::new();
    for (y, row) in marked(map).enumerate() {
        let mut runs = runs(&row);
        for run in &mut runs {
            run.group = groups.new_group();
            // Neighbours touch at their corners too.
            let touching = above
                .iter()
                .filter(|old| old.first <= run.last + 1 && run.first <= old.last + 1);
            for old in touching {
                run.group = groups.join(run.group, old.group);
            }
            groups.add(run.group, y, run);
        }
        above = runs;
    }
    groups
        .points
        .into_iter()
        .filter(|points| !points.is_empty())
        .take(PLACES_MAX)
        .collect()
}

/// The marks of each row. A pixel counts as marked if it is, or if the one above, to its left or above that is: this
/// closes gaps of one pixel.
fn marked(map: &Map) -> impl Iterator<Item = Vec<bool>> {
    let rows = map.likely.chunks_exact(map.width.max(1));
    let mut before: Vec<bool> = Vec::new();
    rows.map(move |row| {
        let own: Vec<bool> = row.iter().map(|likely| *likely > MARK_MIN).collect();
        let at = |x: usize| [&own, &before].iter().any(|row| row.get(x) == Some(&true));
        let grown = (0..own.len())
            .map(|x| at(x) || x.checked_sub(1).is_some_and(at))
            .collect();
        before = own;
        grown
    })
}

/// Marked pixels side by side.
struct Run {
    first: usize,
    last: usize,
    group: usize,
}

fn runs(row: &[bool]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (x, _) in row.iter().enumerate().filter(|(_, marked)| **marked) {
        match runs.last_mut() {
            Some(run) if run.last + 1 == x => run.last = x,
            _ => runs.push(Run {
                first: x,
                last: x,
                group: 0,
            }),
        }
    }
    runs
}

/// Groups that grow together: each knows which one it has become part of.
#[derive(Default)]
struct Groups {
    part_of: Vec<usize>,
    points: Vec<Vec<Point>>,
}

impl Groups {
    fn new_group(&mut self) -> usize {
        self.part_of.push(self.part_of.len());
        self.points.push(Vec::new());
        self.part_of.len() - 1
    }

    fn whole(&self, group: usize) -> usize {
        let mut group = group;
        while let Some(next) = self.part_of.get(group).filter(|next| **next != group) {
            group = *next;
        }
        group
    }

    /// The older group of two takes in the younger.
    fn join(&mut self, one: usize, other: usize) -> usize {
        let (one, other) = (self.whole(one), self.whole(other));
        let (old, young) = (one.min(other), one.max(other));
        if old != young {
            if let Some(part_of) = self.part_of.get_mut(young) {
                *part_of = old;
            }
            let moved = self
                .points
                .get_mut(young)
                .map(std::mem::take)
                .unwrap_or_default();
            if let Some(points) = self.points.get_mut(old) {
                points.extend(moved);
            }
        }
        old
    }

    fn add(&mut self, group: usize, y: usize, run: &Run) {
        if let Some(points) = self.points.get_mut(group) {
            points.extend([run.first, run.last].map(|x| Point {
                x: x as f64,
                y: y as f64,
            }));
        }
    }
}

/// The corners in the picture of what is marked at a place, if it can be a line.
fn line(map: &Map, points: Vec<Point>, picture: &Picture) -> Option<Corners> {
    let core = Rectangle::around(points)?;
    if core.narrow() < NARROW_MIN || mean(map, &core) < BOX_MIN {
        return None;
    }
    let whole = core.grown(core.area() * GROWTH / core.perimeter());
    if whole.narrow() < NARROW_GROWN_MIN {
        return None;
    }
    let place = |at: f64, from: usize, to: usize| {
        let to = to as f64;
        (at / from as f64 * to)
            .round_ties_even()
            .clamp(0.0, to - 1.0)
    };
    let corners = whole.corners().map(|corner| Point {
        x: place(corner.x, map.width, picture.width),
        y: place(corner.y, map.height, picture.height),
    });
    let corners = ordered(corners);
    let [upper_left, upper_right, _, lower_left] = corners;
    let sides = [
        upper_left.distance(upper_right),
        upper_left.distance(lower_left),
    ];
    sides
        .iter()
        .all(|side| side.floor() > SIDE_FLOOR)
        .then_some(corners)
}

/// How likely the pixels of a box are, on average.
fn mean(map: &Map, core: &Rectangle) -> f64 {
    let corners = core.corners();
    let range = |places: [f64; 4], size: usize| {
        let low = places.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let high = places
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
            .ceil();
        let last = size.saturating_sub(1) as f64;
        low.clamp(0.0, last) as usize..=high.clamp(0.0, last) as usize
    };
    let (mut sum, mut count) = (0.0, 0.0);
    for y in range(corners.map(|corner| corner.y), map.height) {
        for x in range(corners.map(|corner| corner.x), map.width) {
            // Pixels on the edge belong to it.
            if core.depth(Point {
                x: x as f64,
                y: y as f64,
            }) >= -0.5
            {
                sum += f64::from(
                    map.likely
                        .get(y * map.width + x)
                        .copied()
                        .unwrap_or_default(),
                );
                count += 1.0;
            }
        }
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

/// As one reads them: rows from top to bottom, and within a row from left to right.
fn in_order(mut found: Vec<Corners>) -> Vec<Corners> {
    let start = |corners: &Corners| {
        let [upper_left, ..] = corners;
        *upper_left
    };
    found.sort_by(|a, b| {
        let (a, b) = (start(a), start(b));
        a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x))
    });
    for end in 1..found.len() {
        for at in (1..=end).rev() {
            let Some([before, after]) = found.get_mut(at - 1..=at) else {
                break;
            };
            let (left, right) = (start(before), start(after));
            if (right.y - left.y).abs() >= ROW || right.x >= left.x {
                break;
            }
            std::mem::swap(before, after);
        }
    }
    found
}

#[cfg(test)]
mod tests;

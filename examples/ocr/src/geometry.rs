//! Points, and the smallest rectangle around some.

/// A place in a picture: to the right and down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// Upper left, upper right, lower right, lower left.
pub(crate) type Corners = [Point; 4];

impl Point {
    fn minus(self, other: Self) -> Self {
        Self {
            x: self.x - other.x,
            y: self.y - other.y,
        }
    }

    fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y
    }

    fn cross(self, other: Self) -> f64 {
        self.x * other.y - self.y * other.x
    }

    pub(crate) fn distance(self, other: Self) -> f64 {
        let apart = self.minus(other);
        // No `hypot`: a square root is exact on every machine, and no library's.
        apart.dot(apart).sqrt()
    }
}

/// A rectangle at any angle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rectangle {
    middle: Point,
    /// Along the length; of length 1.
    along: Point,
    pub(crate) length: f64,
    pub(crate) width: f64,
}

impl Rectangle {
    /// The smallest around these points; nothing if there are none.
    pub(crate) fn around(points: Vec<Point>) -> Option<Self> {
        let hull = hull(points);
        let first = *hull.first()?;
        let alone = Self {
            middle: first,
            along: Point { x: 1.0, y: 0.0 },
            length: 0.0,
            width: 0.0,
        };
        let edges = hull.iter().zip(hull.iter().cycle().skip(1));
        let mut best: Option<Self> = None;
        for (from, to) in edges {
            let long = from.distance(*to);
            if long <= 0.0 {
                continue;
            }
            let edge = to.minus(*from);
            let along = Point {
                x: edge.x / long,
                y: edge.y / long,
            };
            let fit = Self::along(along, &hull);
            if best.is_none_or(|best| fit.area() < best.area()) {
                best = Some(fit);
            }
        }
        Some(best.unwrap_or(alone))
    }

    /// The smallest of this direction.
    fn along(along: Point, points: &[Point]) -> Self {
        let across = Point {
            x: -along.y,
            y: along.x,
        };
        let reach = |direction: Point| {
            let dots = points.iter().map(|point| point.dot(direction));
            dots.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), dot| {
                (low.min(dot), high.max(dot))
            })
        };
        let ((left, right), (up, down)) = (reach(along), reach(across));
        let (far, side) = ((left + right) / 2.0, (up + down) / 2.0);
        Self {
            middle: Point {
                x: along.x * far + across.x * side,
                y: along.y * far + across.y * side,
            },
            along,
            length: right - left,
            width: down - up,
        }
    }

    pub(crate) fn area(&self) -> f64 {
        self.length * self.width
    }

    /// The length of the shorter side.
    pub(crate) fn narrow(&self) -> f64 {
        self.length.min(self.width)
    }

    /// The same with every side moved outwards.
    pub(crate) fn grown(&self, by: f64) -> Self {
        Self {
            length: self.length + 2.0 * by,
            width: self.width + 2.0 * by,
            ..*self
        }
    }

    pub(crate) fn perimeter(&self) -> f64 {
        2.0 * (self.length + self.width)
    }

    /// How far inside a point lies, outside being less than nothing.
    pub(crate) fn depth(&self, point: Point) -> f64 {
        let from = point.minus(self.middle);
        let (far, side) = (from.dot(self.along).abs(), from.cross(self.along).abs());
        (self.length / 2.0 - far).min(self.width / 2.0 - side)
    }

    pub(crate) fn corners(&self) -> Corners {
        let (far, side) = (self.length / 2.0, self.width / 2.0);
        let corner = |far: f64, side: f64| Point {
            x: self.middle.x + self.along.x * far - self.along.y * side,
            y: self.middle.y + self.along.y * far + self.along.x * side,
        };
        ordered([
            corner(-far, -side),
            corner(far, -side),
            corner(far, side),
            corner(-far, side),
        ])
    }
}

/// Corners in their order: of the two furthest left the upper one first, and so on clockwise.
pub(crate) fn ordered(mut corners: Corners) -> Corners {
    corners.sort_by(|a, b| a.x.total_cmp(&b.x));
    let [a, b, c, d] = corners;
    let upper_first = |a: Point, b: Point| if a.y <= b.y { (a, b) } else { (b, a) };
    let ((upper_left, lower_left), (upper_right, lower_right)) =
        (upper_first(a, b), upper_first(c, d));
    [upper_left, upper_right, lower_right, lower_left]
}

/// The outermost points, in order (Andrew's monotone chain).
fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let half = |points: &mut dyn Iterator<Item = &Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., before, last] = chain.as_slice()
                && last.minus(*before).cross(point.minus(*before)) <= 0.0
            {
                chain.pop();
            }
            chain.push(*point);
        }
        chain.pop();
        chain
    };
    let mut whole = half(&mut points.iter());
    whole.extend(half(&mut points.iter().rev()));
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(places: &[(f64, f64)]) -> Vec<Point> {
        places.iter().map(|(x, y)| Point { x: *x, y: *y }).collect()
    }

    #[test]
    fn the_smallest_rectangle_lies_as_its_points_do() {
        /// A name, points, the shorter side and the area.
        type Case<'a> = (&'a str, &'a [(f64, f64)], f64, f64);
        let cases: [Case; 5] = [
            (
                "upright",
                &[(0.0, 0.0), (10.0, 0.0), (10.0, 4.0), (0.0, 4.0), (5.0, 2.0)],
                4.0,
                40.0,
            ),
            (
                "slanted",
                &[
                    (0.0, 0.0),
                    (30.0, 40.0),
                    (22.0, 46.0),
                    (-8.0, 6.0),
                    (10.0, 20.0),
                ],
                10.0,
                500.0,
            ),
            ("in a row", &[(0.0, 0.0), (5.0, 0.0), (9.0, 0.0)], 0.0, 0.0),
            ("alone", &[(3.0, 3.0)], 0.0, 0.0),
            ("twice", &[(3.0, 3.0), (3.0, 3.0)], 0.0, 0.0),
        ];
        for (name, places, narrow, area) in cases {
            let found = Rectangle::around(points(places)).unwrap();
            assert!((found.narrow() - narrow).abs() < 1e-9, "{name}: {found:?}");
            assert!((found.area() - area).abs() < 1e-9, "{name}: {found:?}");
            for point in points(places) {
                assert!(
                    found.depth(point) > -1e-9,
                    "{name}: {point:?} is outside of {found:?}"
                );
            }
        }
        assert!(Rectangle::around(Vec::new()).is_none());
    }

    #[test]
    fn corners_begin_at_the_upper_left() {
        let upright = [(0.0, 0.0), (10.0, 0.0), (10.0, 4.0), (0.0, 4.0)];
        for turn in 0..4 {
            let mut places = upright;
            places.rotate_left(turn);
            let corners = Rectangle::around(points(&places)).unwrap().corners();
            assert_eq!(corners.to_vec(), points(&upright));
            let grown = Rectangle::around(points(&places))
                .unwrap()
                .grown(1.0)
                .corners();
            assert_eq!(
                grown.to_vec(),
                points(&[(-1.0, -1.0), (11.0, -1.0), (11.0, 5.0), (-1.0, 5.0)])
            );
        }
    }
}

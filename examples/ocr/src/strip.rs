//! A line of text cut out of a picture and laid straight.

use crate::geometry::{Corners, Point};
use crate::picture::{COLOURS, Picture, byte};

/// What is at least this many times as high as it is wide is taken for a line from bottom to top, and turned.
const UPRIGHT: f64 = 1.5;

/// The sharpness of the curve that is laid through four neighbours.
const CURVE: f32 = -0.75;

/// The pixels between four corners, as a picture of its own.
pub(crate) fn straight(picture: &Picture, corners: &Corners) -> Picture {
    let [upper_left, upper_right, lower_right, lower_left] = *corners;
    let longest = |one: f64, other: f64| (one.max(other) as usize).max(1);
    let width = longest(
        upper_left.distance(upper_right),
        lower_right.distance(lower_left),
    );
    let height = longest(
        upper_left.distance(lower_left),
        upper_right.distance(lower_right),
    );
    let mut pixels = Vec::with_capacity(width * height * COLOURS);
    for y in 0..height {
        let down = y as f64 / height as f64;
        let [left, right] = [(upper_left, lower_left), (upper_right, lower_right)]
            .map(|(from, to)| between(from, to, down));
        for x in 0..width {
            pixels.extend(pixel(
                picture,
                between(left, right, x as f64 / width as f64),
            ));
        }
    }
    let strip = Picture {
        width,
        height,
        pixels,
    };
    if height as f64 / width as f64 >= UPRIGHT {
        turned(&strip)
    } else {
        strip
    }
}

fn between(from: Point, to: Point, part: f64) -> Point {
    Point {
        x: from.x + (to.x - from.x) * part,
        y: from.y + (to.y - from.y) * part,
    }
}

/// The colours at a place between pixels: a smooth curve through the sixteen around it.
fn pixel(picture: &Picture, place: Point) -> [u8; COLOURS] {
    let (left, top) = (place.x.floor(), place.y.floor());
    let (across, down) = (
        weights((place.x - left) as f32),
        weights((place.y - top) as f32),
    );
    let mut sums = [0.0; COLOURS];
    for (y, down) in (top as isize - 1..).zip(down) {
        for (x, across) in (left as isize - 1..).zip(across) {
            for (sum, colour) in sums.iter_mut().zip(picture.at(x, y)) {
                *sum += f32::from(colour) * down * across;
            }
        }
    }
    sums.map(byte)
}

/// How much each of four neighbours counts at a part of the way from the second to the third.
fn weights(part: f32) -> [f32; 4] {
    let outer = |far: f32| ((CURVE * far - 5.0 * CURVE) * far + 8.0 * CURVE) * far - 4.0 * CURVE;
    let inner = |near: f32| ((CURVE + 2.0) * near - (CURVE + 3.0)) * near * near + 1.0;
    let known = [outer(part + 1.0), inner(part), inner(1.0 - part)];
    let [first, second, third] = known;
    [first, second, third, 1.0 - first - second - third]
}

/// The same turned to the left by a quarter.
fn turned(picture: &Picture) -> Picture {
    let (width, height) = (picture.height, picture.width);
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    for y in 0..height {
        for x in 0..width {
            pixels.extend(picture.at((height - 1 - y) as isize, x as isize));
        }
    }
    Picture {
        width,
        height,
        pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose pixels are all different.
    fn numbered(width: usize, height: usize) -> Picture {
        let pixels = (0..width * height)
            .flat_map(|at| [at as u8, 100, 200])
            .collect();
        Picture {
            width,
            height,
            pixels,
        }
    }

    fn corners(places: [(f64, f64); 4]) -> Corners {
        places.map(|(x, y)| Point { x, y })
    }

    fn first_colours(picture: &Picture) -> Vec<u8> {
        picture.pixels.iter().step_by(COLOURS).copied().collect()
    }

    #[test]
    fn a_strip_that_lies_straight_is_cut_out_as_it_is() {
        let strip = straight(
            &numbered(10, 6),
            &corners([(2.0, 1.0), (6.0, 1.0), (6.0, 4.0), (2.0, 4.0)]),
        );
        assert_eq!((strip.width, strip.height), (4, 3));
        assert_eq!(
            first_colours(&strip),
            [12, 13, 14, 15, 22, 23, 24, 25, 32, 33, 34, 35]
        );
    }

    #[test]
    fn what_stands_upright_is_laid_on_its_side() {
        let strip = straight(
            &numbered(10, 6),
            &corners([(2.0, 1.0), (4.0, 1.0), (4.0, 4.0), (2.0, 4.0)]),
        );
        assert_eq!((strip.width, strip.height), (3, 2));
        assert_eq!(first_colours(&strip), [13, 23, 33, 12, 22, 32]);
    }

    #[test]
    fn weights_are_a_whole_and_fall_on_a_pixel_where_one_is() {
        for part in [0.0, 0.25, 0.5, 0.9] {
            assert!((weights(part).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert_eq!(weights(0.0), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(weights(0.5), [-0.09375, 0.59375, 0.59375, -0.09375]);
    }
}

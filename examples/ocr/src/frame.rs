//! A picture as the first model can look at it: neither too large nor too small, and no mere strip.

use assay::Error;

use crate::geometry::Corners;
use crate::picture::{COLOURS, Picture};

/// The longer side is at most this many pixels; what is larger is made smaller.
const SIDE_MAX: usize = 2000;
/// The shorter side is at least this many; what is smaller is made larger.
const SIDE_MIN: usize = 30;
/// By how many times a picture may be longer than high, or its height be this many pixels, before black is put
/// above and below.
const RATIO_MAX: usize = 8;
/// Sides come in steps of so many pixels where a picture is scaled.
pub(crate) const STEP: usize = 32;

/// A picture made fit to be looked at, and how its places are those of the picture.
pub(crate) struct Frame {
    pub(crate) picture: Picture,
    /// Rows put above.
    above: usize,
    /// Pixels of the picture for one of the frame.
    scale: (f64, f64),
}

impl Frame {
    pub(crate) fn around(picture: &Picture) -> Result<Self, Error> {
        let (width, height) = (picture.width, picture.height);
        if height > width.saturating_mul(RATIO_MAX) {
            return Err(Error::BadInput(format!(
                "the picture is {width} by {height}, it must be at most {RATIO_MAX} times as high as it is wide"
            )));
        }
        let mut fit = picture.clone();
        let longer = width.max(height);
        if longer > SIDE_MAX {
            fit = scaled(&fit, SIDE_MAX as f64 / longer as f64);
        }
        let shorter = fit.width.min(fit.height);
        if shorter < SIDE_MIN {
            fit = scaled(&fit, SIDE_MIN as f64 / shorter.max(1) as f64);
        }
        let scale = (
            width as f64 / fit.width as f64,
            height as f64 / fit.height as f64,
        );
        let above = missing(&fit);
        let black = vec![0; above * fit.width * COLOURS];
        fit.pixels = [black.as_slice(), &fit.pixels, &black].concat();
        fit.height += 2 * above;
        Ok(Self {
            picture: fit,
            above,
            scale,
        })
    }

    /// The same corners in the picture itself.
    pub(crate) fn outside(&self, corners: &Corners, picture: &Picture) -> [u32; 8] {
        let mut flat = [0; 8];
        let pairs = flat.as_chunks_mut::<2>().0;
        for ([x, y], corner) in pairs.iter_mut().zip(corners) {
            let place = |at: f64, scale: f64, size: usize| {
                (at * scale).clamp(0.0, size as f64).round() as u32
            };
            *x = place(corner.x, self.scale.0, picture.width);
            *y = place(corner.y - self.above as f64, self.scale.1, picture.height);
        }
        flat
    }
}

/// Rows that a flat picture lacks above, and as many below.
fn missing(picture: &Picture) -> usize {
    let (width, height) = (picture.width, picture.height);
    if height > SIDE_MIN && width <= height * RATIO_MAX {
        return 0;
    }
    let wanted = (width / RATIO_MAX).max(SIDE_MIN) * 2;
    wanted.abs_diff(height) / 2
}

fn scaled(picture: &Picture, ratio: f64) -> Picture {
    let [width, height] =
        [picture.width, picture.height].map(|side| stepped((side as f64 * ratio).floor()));
    picture.resized(width, height)
}

/// The nearest whole number of steps, at least one.
pub(crate) fn stepped(side: f64) -> usize {
    ((side / STEP as f64).round_ties_even() as usize).max(1) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(width: usize, height: usize) -> Picture {
        Picture {
            width,
            height,
            pixels: vec![255; width * height * COLOURS],
        }
    }

    #[test]
    fn a_picture_is_made_fit_to_be_looked_at() {
        let cases = [
            ("as it is", (640, 480), (640, 480), 0),
            ("too large", (4000, 1000), (1984, 512), 0),
            ("too small", (20, 25), (32, 32), 0),
            ("a strip", (600, 40), (600, 150), 55),
            ("low", (100, 30), (100, 60), 15),
        ];
        for (name, (width, height), fit, above) in cases {
            let frame = Frame::around(&blank(width, height)).unwrap();
            assert_eq!((frame.picture.width, frame.picture.height), fit, "{name}");
            assert_eq!(frame.above, above, "{name}");
            let pixels = frame.picture.pixels.len();
            assert_eq!(pixels, fit.0 * fit.1 * COLOURS, "{name}");
        }
        let error = Frame::around(&blank(30, 241)).err().unwrap().to_string();
        assert!(error.contains("30 by 241"), "{error}");
    }

    #[test]
    fn places_are_told_as_places_of_the_picture() {
        let large = blank(4000, 1000);
        let frame = Frame::around(&large).unwrap();
        let corner = |x: f64, y: f64| crate::geometry::Point { x, y };
        let corners = [
            corner(0.0, 0.0),
            corner(1984.0, 0.0),
            corner(1984.0, 512.0),
            corner(496.0, 256.0),
        ];
        let told = frame.outside(&corners, &large);
        assert_eq!(told, [0, 0, 4000, 0, 4000, 1000, 1000, 500]);
        let strip = blank(600, 40);
        let frame = Frame::around(&strip).unwrap();
        let told = frame.outside(
            &[
                corner(1.0, 54.0),
                corner(9.0, 60.0),
                corner(9.0, 99.0),
                corner(0.0, 70.0),
            ],
            &strip,
        );
        assert_eq!(told, [1, 0, 9, 5, 9, 40, 0, 15]);
    }
}

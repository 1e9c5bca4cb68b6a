//! Pixels: from a PNG, and at another size.

use std::io::Cursor;

use assay::Error;
use png::{ColorType, Decoder, Limits, Transformations};

/// Pixels of a picture, at most.
pub(crate) const PIXELS_MAX: usize = 16_000_000;

/// Bytes that the decoder may take for itself.
const DECODER_BYTES_MAX: usize = 96 << 20;

/// Colours of a pixel: blue, green, red, which is the order that the models were made with.
pub(crate) const COLOURS: usize = 3;

const WHITE: u16 = 255;

/// A picture of eight bits a colour, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Picture {
    /// Reads a PNG of any kind. What is transparent shows white.
    pub(crate) fn from_png(bytes: &[u8]) -> Result<Self, Error> {
        let bad =
            |error: png::DecodingError| Error::BadInput(format!("the PNG is broken: {error}"));
        let limits = Limits {
            bytes: DECODER_BYTES_MAX,
        };
        let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        let mut reader = decoder.read_info().map_err(bad)?;
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        let count = width
            .checked_mul(height)
            .filter(|count| *count <= PIXELS_MAX);
        let (Some(count), Some(size)) = (count, reader.output_buffer_size()) else {
            return Err(Error::BadInput(format!(
                "the picture is {width} by {height}, it must have at most {PIXELS_MAX} pixels"
            )));
        };
        let mut read = vec![0; size];
        let shape = reader.next_frame(&mut read).map_err(bad)?;
        read.truncate(shape.buffer_size());
        let mut pixels = Vec::with_capacity(count * COLOURS);
        match shape.color_type {
            ColorType::Grayscale => read.iter().for_each(|gray| pixels.extend([*gray; COLOURS])),
            ColorType::GrayscaleAlpha => read.as_chunks().0.iter().for_each(|[gray, alpha]| {
                pixels.extend([on_white(*gray, *alpha); COLOURS]);
            }),
            ColorType::Rgb => read.as_chunks().0.iter().for_each(|[red, green, blue]| {
                pixels.extend([*blue, *green, *red]);
            }),
            ColorType::Rgba => read
                .as_chunks()
                .0
                .iter()
                .for_each(|[red, green, blue, alpha]| {
                    pixels.extend([blue, green, red].map(|colour| on_white(*colour, *alpha)));
                }),
            ColorType::Indexed => return Err(Error::failed("the decoder left a palette in place")),
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// A pixel; beyond an edge, the one on it.
    pub(crate) fn at(&self, x: isize, y: isize) -> [u8; COLOURS] {
        let within = |at: isize, size: usize| at.clamp(0, size as isize - 1).max(0) as usize;
        let start = (within(y, self.height) * self.width + within(x, self.width)) * COLOURS;
        let pixel = self.pixels.get(start..start + COLOURS);
        pixel
            .and_then(|pixel| pixel.try_into().ok())
            .unwrap_or_default()
    }

    /// The same at another size. Each new pixel lies between four old ones; none is skipped in the sense of an
    /// average, as that is how the models' pictures were made.
    pub(crate) fn resized(&self, width: usize, height: usize) -> Self {
        let columns = taps(self.width, width);
        let mut pixels = Vec::with_capacity(width * height * COLOURS);
        for row in taps(self.height, height) {
            let [upper, lower] = [row.first, row.second].map(|at| self.row(at));
            let pairs = upper.iter().zip(lower);
            // One row between two, and then each pixel of it between two: half of what either costs alone.
            let blended: Vec<f32> = pairs
                .map(|(above, below)| part(f32::from(*above), f32::from(*below), row.part))
                .collect();
            let blended = blended.as_chunks::<COLOURS>().0;
            for column in &columns {
                let [left, right] = [column.first, column.second].map(|at| blended.get(at));
                let (Some(left), Some(right)) = (left, right) else {
                    continue;
                };
                let between = left.iter().zip(right);
                pixels.extend(between.map(|(left, right)| byte(part(*left, *right, column.part))));
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    fn row(&self, at: usize) -> &[u8] {
        let stride = self.width * COLOURS;
        self.pixels
            .get(at * stride..(at + 1) * stride)
            .unwrap_or_default()
    }

    /// The numbers that a model takes: colour by colour, from -1 to 1; `width` beyond the picture's own is filled
    /// with `0`.
    pub(crate) fn planes(&self, width: usize) -> Vec<f32> {
        let mut planes = Vec::with_capacity(width * self.height * COLOURS);
        for colour in 0..COLOURS {
            for row in 0..self.height {
                let pixels = self.row(row).as_chunks::<COLOURS>().0.iter();
                let values = pixels.map(|pixel| pixel.get(colour).copied().unwrap_or_default());
                planes.extend(values.map(|value| (f32::from(value) / 255.0 - 0.5) / 0.5));
                planes.resize((colour * self.height + row + 1) * width, 0.0);
            }
        }
        planes
    }
}

/// What lies a part of the way from one to the other.
fn part(from: f32, to: f32, part: f32) -> f32 {
    from + (to - from) * part
}

/// Between which two old places a new one lies, and how far behind the first.
struct Tap {
    first: usize,
    second: usize,
    part: f32,
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let last = from.saturating_sub(1);
    let scale = from as f64 / to as f64;
    let tap = |at: usize| {
        let place = ((at as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
        let first = place.floor();
        Tap {
            first: first as usize,
            second: (first as usize + 1).min(last),
            part: (place - first) as f32,
        }
    };
    (0..to).map(tap).collect()
}

/// The nearest that eight bits can hold.
pub(crate) fn byte(value: f32) -> u8 {
    value.round_ties_even().clamp(0.0, 255.0) as u8
}

fn on_white(colour: u8, alpha: u8) -> u8 {
    let [colour, alpha] = [colour, alpha].map(u16::from);
    ((colour * alpha + WHITE * (WHITE - alpha) + WHITE / 2) / WHITE) as u8
}

#[cfg(test)]
mod tests;

use png::{BitDepth, Encoder};

use super::*;

fn encoded(width: u32, height: u32, colour: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

#[test]
fn every_kind_of_png_is_read() {
    use BitDepth::{Eight, One, Sixteen};
    use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    /// A name, what is written, and two pixels that are read.
    type Case<'a> = (&'a str, ColorType, BitDepth, &'a [u8], [u8; 6]);
    let cases: [Case; 8] = [
        ("gray", Grayscale, Eight, &[7, 9], [7, 7, 7, 9, 9, 9]),
        (
            "bits",
            Grayscale,
            One,
            &[0b0100_0000],
            [0, 0, 0, 255, 255, 255],
        ),
        (
            "sixteen bits",
            Grayscale,
            Sixteen,
            &[7, 1, 9, 2],
            [7, 7, 7, 9, 9, 9],
        ),
        (
            "colour",
            Rgb,
            Eight,
            &[1, 2, 3, 4, 5, 6],
            [3, 2, 1, 6, 5, 4],
        ),
        (
            "palette",
            Indexed,
            One,
            &[0b0100_0000],
            [30, 20, 10, 60, 50, 40],
        ),
        (
            "gray on white",
            GrayscaleAlpha,
            Eight,
            &[0, 255, 0, 0],
            [0, 0, 0, 255, 255, 255],
        ),
        (
            "half",
            GrayscaleAlpha,
            Eight,
            &[0, 128, 100, 255],
            [127, 127, 127, 100, 100, 100],
        ),
        (
            "colour on white",
            Rgba,
            Eight,
            &[1, 2, 3, 255, 4, 5, 6, 0],
            [3, 2, 1, 255, 255, 255],
        ),
    ];
    for (name, colour, depth, data, pixels) in cases {
        let picture = Picture::from_png(&encoded(2, 1, colour, depth, data)).unwrap();
        assert_eq!((picture.width, picture.height), (2, 1), "{name}");
        assert_eq!(picture.pixels, pixels, "{name}");
    }
}

#[test]
fn what_is_no_picture_or_too_large_is_refused_with_its_size() {
    let good = encoded(2, 1, ColorType::Grayscale, BitDepth::Eight, &[7, 9]);
    let huge = encoded(
        4001,
        4000,
        ColorType::Grayscale,
        BitDepth::One,
        &vec![0; 501 * 4000],
    );
    let cases = [
        (&b"GIF89a"[..], "the PNG is broken"),
        (&good[..good.len() - 20], "the PNG is broken"),
        (&[][..], "the PNG is broken"),
        (
            &huge[..],
            "the picture is 4001 by 4000, it must have at most 16000000 pixels",
        ),
    ];
    for (bytes, words) in cases {
        let error = Picture::from_png(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_picture_keeps_what_it_shows_at_another_size() {
    let gray = |values: &[u8]| {
        values
            .iter()
            .flat_map(|value| [*value; COLOURS])
            .collect::<Vec<u8>>()
    };
    let picture = Picture {
        width: 2,
        height: 2,
        pixels: gray(&[0, 100, 200, 100]),
    };
    assert_eq!(picture.resized(2, 2), picture);
    assert_eq!(picture.resized(1, 1).pixels, gray(&[100]));
    let wide = picture.resized(4, 2);
    assert_eq!(wide.pixels, gray(&[0, 25, 75, 100, 200, 175, 125, 100]));
}

#[test]
fn numbers_for_a_model_are_planes_with_what_is_missing_filled_up() {
    let picture = Picture {
        width: 1,
        height: 2,
        pixels: vec![0, 255, 0, 255, 0, 0],
    };
    let planes = picture.planes(2);
    assert_eq!(
        planes,
        [
            -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 0.0
        ]
    );
}

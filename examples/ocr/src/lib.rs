//! Text in pictures: each PNG becomes the lines that PP-OCRv4 reads in it, and where they are. Two models are asked: one
//! marks where text is, the other reads one line at a time. All between them happens here: pixels become numbers, marks
//! become boxes, boxes become straight strips, and scores of characters become text.

use assay::{Error, context, log};
use serde::Serialize;

mod detect;
mod frame;
mod geometry;
mod picture;
mod read;
mod strip;

use frame::Frame;
use picture::Picture;

/// What is said of a picture: the three lists belong together, a line of text at each place, from top to bottom.
#[derive(Serialize)]
struct Record {
    width: usize,
    height: usize,
    text: Vec<String>,
    /// How sure the model is of a line: the mean over its characters.
    scores: Vec<f64>,
    /// Four corners of a line, each x then y, clockwise from the upper left.
    boxes: Vec<[u32; 8]>,
}

fn ocr(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let read = |(index, item): (u64, &Vec<u8>)| {
        page(item).map_err(|error| match error {
            Error::BadInput(reason) => Error::BadInput(format!("item {index}: {reason}")),
            other => other,
        })
    };
    (context::item_offset()..).zip(&items).map(read).collect()
}

assay::job!(ocr);

fn page(item: &[u8]) -> Result<Vec<u8>, Error> {
    let picture = Picture::from_png(item)?;
    let frame = Frame::around(&picture)?;
    let found = detect::lines(&frame.picture)?;
    let mut record = Record {
        width: picture.width,
        height: picture.height,
        text: Vec::with_capacity(found.len()),
        scores: Vec::with_capacity(found.len()),
        boxes: Vec::with_capacity(found.len()),
    };
    for corners in &found {
        let strip = strip::straight(&frame.picture, corners);
        let line = read::line(&strip)?;
        if line.score >= read::SCORE_MIN {
            record.text.push(line.text);
            record.scores.push((line.score * 1e4).round() / 1e4);
            record.boxes.push(frame.outside(corners, &picture));
        }
    }
    log::info!(
        "{} by {} pixels, {} places with text, {} lines read",
        picture.width,
        picture.height,
        found.len(),
        record.text.len()
    );
    serde_json::to_vec(&record).map_err(Error::failed)
}

//! The worker's side for a parent that wants models run and no guests. Nothing of wasm is loaded.

use std::fs::File;
use std::sync::mpsc::Receiver;

use super::child::say;
use super::frame::{Frame, FrameError};
use super::protocol::{Request, Response};
use crate::engine::engine_id;
use crate::model::Models;

pub(super) fn answer(
    inbox: &Receiver<Frame>,
    mut output: File,
    missing: Vec<String>,
) -> Result<(), FrameError> {
    let models = match Models::new() {
        Ok(models) => models,
        Err(kind) => return say(&mut output, &Response::Failed(kind.into()), Vec::new()),
    };
    let engine = engine_id();
    let hello = Response::Hello { engine, missing };
    say(&mut output, &hello, Vec::new())?;
    while let Ok(frame) = inbox.recv() {
        let answered = match frame.word()? {
            Request::Ports(model) => models
                .ports(&model)
                .map(|ports| (Response::Ports(ports), Vec::new())),
            Request::RunModel(run) => models
                .run(&run, &frame.body)
                .map(|(ran, answers)| (Response::Ran(ran), answers)),
            _ => return Err(postcard::Error::DeserializeBadEncoding.into()),
        };
        match answered {
            Ok((word, body)) => say(&mut output, &word, body)?,
            Err(kind) => say(&mut output, &Response::Failed(kind.into()), Vec::new())?,
        }
    }
    Ok(())
}

//! Text generation: each prompt is continued by a small language model, token by token. Templates, tokens, sampling and
//! stopping happen here; the model only multiplies, and its cache never leaves the host.
//!
//! Start at [`request`] (what an item says), then [`vocabulary`] (text and tokens), [`row`] (one continuation in the
//! making), [`decode`] (a batch of them) and [`choose`] (which token comes next). [`profile`] has the models.

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(
        dead_code,
        reason = "outside a guest nothing is exported, and nothing calls the job"
    )
)]

mod choose;
mod decode;
mod profile;
mod request;
mod row;
mod vocabulary;

use assay::{Error, context, log, model};

use profile::{Profile, Shape};
use request::Request;
use row::Row;
use vocabulary::Vocabulary;

fn generate(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let profile = Profile::of(&context::models())?;
    let decoder = model(profile.name)?;
    let shape = Shape::of(&decoder.signature())?;
    let vocabulary = Vocabulary::open(profile, shape.vocabulary)?;
    let mut rows = Vec::with_capacity(items.len());
    for (item, index) in items.iter().zip(context::item_offset()..) {
        // Each item draws a seed, needed or not, so that none depends on what its neighbours ask for.
        let seed = draw();
        let row = Request::parse(item)
            .and_then(|request| Row::new(&request, profile, &vocabulary, seed))
            .map_err(|reason| Error::BadInput(format!("item {index}: {reason}")))?;
        rows.push(row);
    }
    let mut waiting = rows.as_mut_slice();
    while !waiting.is_empty() {
        let (batch, rest) = waiting.split_at_mut(decode::batch(waiting, &shape));
        decode::run(batch, &decoder, &shape, &vocabulary)?;
        waiting = rest;
    }
    let tokens: usize = rows.iter().map(Row::length).sum();
    log::info!("{} items, {tokens} tokens", rows.len());
    rows.iter().map(|row| row.answer(&vocabulary)).collect()
}

assay::job!(generate);

/// 64 bits of the job's randomness.
fn draw() -> u64 {
    let mut bytes = [0; 8];
    assay::random_bytes(&mut bytes);
    u64::from_le_bytes(bytes)
}

//! What it takes to find out who of two providers computed wrongly, beside computing everything again.
//!
//! Each model is executed by an honest party and by one that changes a number behind some node, drawn from a fixed
//! seed. The referee narrows the disagreement to that node and computes it again. The baseline is a trusted machine
//! that loads the whole model and runs it, as jobs do.

mod court;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use host_gpu::{
    Device, ElementType, GraphOptions, NnBackend as _, OrtBackend, StopFlag, TensorValue, Trace,
    Tracer,
};
use jobs::dispute::{ARITY_DEFAULT, Estimate, Party, Prices, Ruling, Terms, choose};

use super::{Bench, read};
use crate::measure::{Clock, Samples};
use crate::table::{Row, Target};
use court::{Inputs, Lie, Provider, Structure, hold, terms};

/// Tokens in the input of each model.
const TOKENS: u32 = 32;

/// A decoder's cache.
struct Shape {
    layers: usize,
    heads: u32,
    width: u32,
}

impl Shape {
    const TINYLM: Self = Self {
        layers: 3,
        heads: 4,
        width: 32,
    };
    const SMOLLM2: Self = Self {
        layers: 30,
        heads: 3,
        width: 64,
    };
}

/// Rows of every model that is there.
pub(crate) fn disputes(bench: &Bench) -> Result<Vec<Row>> {
    let tinylm = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../host-gpu/tests/data/tinylm.onnx"
    );
    let mut rows = Vec::new();
    for (name, path, inputs) in [
        (
            "tinylm",
            tinylm.into(),
            decoder_inputs(&Shape::TINYLM, TOKENS)?,
        ),
        (
            "MiniLM int8",
            bench.models.join("all-minilm-l6-v2-int8.onnx"),
            encoder_inputs(TOKENS)?,
        ),
        (
            "SmolLM2-135M fp32",
            bench.models.join("smollm2-135m-instruct-fp32.onnx"),
            decoder_inputs(&Shape::SMOLLM2, TOKENS)?,
        ),
    ] {
        if !path.is_file() {
            let reason = format!(
                "{} is missing: cargo xtask setup --generate",
                path.display()
            );
            rows.push(Row::skipped(format!("dispute, {name}"), reason));
            continue;
        }
        rows.extend(measured(bench, name, &read(&path)?, &inputs)?);
    }
    Ok(rows)
}

fn encoder_inputs(tokens: u32) -> Result<Inputs> {
    let ids = (0..tokens).map(|at| 1000 + i64::from(at * 37 % 997));
    Ok(vec![
        integers("input_ids", ids)?,
        integers("attention_mask", (0..tokens).map(|_| 1))?,
        integers("token_type_ids", (0..tokens).map(|_| 0))?,
    ])
}

fn decoder_inputs(shape: &Shape, tokens: u32) -> Result<Inputs> {
    // Bytes to the one model and words to the other.
    let ids = (0..tokens).map(|at| 32 + i64::from(at * 37 % 90));
    let mut inputs = vec![
        integers("input_ids", ids)?,
        integers("attention_mask", (0..tokens).map(|_| 1))?,
        integers("position_ids", (0..tokens).map(i64::from))?,
    ];
    for layer in 0..shape.layers {
        for part in ["key", "value"] {
            let dims = [1, shape.heads, 0, shape.width];
            let empty = TensorValue::from_bytes(ElementType::F32, &dims, &[])?;
            inputs.push((format!("past_key_values.{layer}.{part}"), Arc::new(empty)));
        }
    }
    Ok(inputs)
}

fn integers(name: &str, values: impl Iterator<Item = i64>) -> Result<(String, Arc<TensorValue>)> {
    let bytes: Vec<u8> = values.flat_map(i64::to_le_bytes).collect();
    let count = u32::try_from(bytes.len() / 8)?;
    let value = TensorValue::from_bytes(ElementType::I64, &[1, count], &bytes)?;
    Ok((name.to_owned(), Arc::new(value)))
}

/// What was measured of each dispute about one model.
#[derive(Default)]
struct Figures {
    /// Milliseconds to cut the model and to learn its types: once for each model, kept by whoever arbitrates.
    learned: Samples,
    rounds: Samples,
    talk: Samples,
    contents: Samples,
    /// Milliseconds of the referee that computes the node, and all of its milliseconds.
    node: Samples,
    referee: Samples,
    /// Milliseconds of a party for its answers.
    answers: Samples,
}

/// The whole model on a trusted machine.
struct Whole {
    /// Milliseconds of a run, of loading and a run, of a traced run.
    run: Samples,
    fresh: Samples,
    traced: Samples,
    /// Bytes of the inputs and of two parties' outputs.
    bytes: f64,
}

fn measured(bench: &Bench, name: &str, model: &[u8], inputs: &Inputs) -> Result<Vec<Row>> {
    let backend = Arc::new(OrtBackend::new(crate::raw::library()?));
    let clock = Clock::start();
    let mut tracer = Tracer::new(Arc::clone(&backend), name, model)?;
    let learned = Samples::of(vec![clock.seconds() * 1e3]);
    let structure = Structure::of(&tracer);
    let honest = Provider::new(&mut tracer, inputs.clone(), Lie::None)?;
    let whole = whole(bench, &backend, &mut tracer, model, inputs)?;
    let terms = terms(&tracer, &honest, ARITY_DEFAULT)?;
    let mut figures = Figures {
        learned,
        ..Figures::default()
    };
    let mut kinds: Vec<String> = Vec::new();
    for node in drawn(&tracer, bench.pick(12, 3))? {
        let lie = Lie::Number { node, to: 1e6 };
        let liar = Provider::new(&mut tracer, inputs.clone(), lie)?;
        let outcome = hold(&mut tracer, &structure, [&honest, &liar], terms)?;
        let caught = matches!(
            &outcome.ruling,
            Ruling::Culprit {
                party: Party::Second,
                ..
            }
        );
        let found = outcome.leaf.map(|(leaf, _)| leaf as usize);
        ensure!(
            caught && found == Some(node),
            "a lie at node {node} came out as {:?}",
            outcome.ruling
        );
        let (_, means) = outcome.leaf.context("no node was computed")?;
        let info = tracer.node(node).context("no such node")?;
        kinds.push(format!("{} ({means:?})", info.operator));
        figures.rounds.push(f64::from(outcome.tally.rounds));
        figures.talk.push(outcome.tally.talk_bytes as f64 / 1e3);
        figures
            .contents
            .push(outcome.tally.content_bytes as f64 / 1e3);
        figures.node.push(outcome.examining * 1e3);
        let referee = outcome.checking + outcome.examining;
        figures.referee.push(referee * 1e3);
        figures.answers.push(outcome.answering * 1e3);
    }
    let widest = structure.widest();
    let choice = choice(terms, widest, model.len(), &figures, &whole)?;
    let about = format!(
        "{} nodes, {TOKENS} tokens, at most {widest} tensors cross a position; {choice}; nodes drawn: {}",
        tracer.nodes(),
        kinds.join(", ")
    );
    Ok(rows(
        name,
        &figures,
        &whole,
        f64::from(terms.rounds_max()),
        about,
    ))
}

fn rows(name: &str, figures: &Figures, whole: &Whole, rounds: f64, about: String) -> Vec<Row> {
    let row = |what: &str, unit: &'static str, ours: &Samples| {
        Row::new(format!("dispute, {name}: {what}"), unit, ours)
    };
    let bytes = figures.talk.zip(&figures.contents, |a, b| a + b);
    vec![
        row("rounds of 8 parts until one node is left", "rounds", &figures.rounds)
            .target(Target::AtMost(rounds))
            .note(about),
        row("bytes of questions and answers, both parties", "kB", &figures.talk),
        row("the same with the tensors of the node", "kB", &bytes)
            .against_figure(whole.bytes / 1e3)
            .note("baseline: the inputs and both outputs, which computing everything again needs"),
        row("the referee computes one node, loading it included", "ms", &figures.node)
            .against_figure(whole.fresh.median())
            .note("baseline: the whole model, loading it included"),
        row("the same, against the run of a loaded model", "ms", &figures.node)
            .against_figure(whole.run.median()),
        row("the referee in all, checking answers included", "ms", &figures.referee)
            .against_figure(whole.fresh.median())
            .note("baseline: the whole model, loading it included"),
        row("the model cut and its types learned, once for all its disputes", "ms", &figures.learned)
            .against_figure(whole.fresh.median())
            .note("baseline: the whole model, loading it included"),
        row("a party answers, executing once more up to the node", "ms", &figures.answers)
            .against_figure(whole.run.median())
            .note("baseline: the run of a loaded model"),
        row("a traced execution, parts loaded", "ms", &whole.traced)
            .against(&whole.traced, &whole.run)
            .note("baseline: the run of a loaded model. What a party pays to enter a dispute; no job pays it"),
    ]
}

/// What the arbitrator would have done, on a network of 20 ms and 100 Mbit/s, with the model at hand and without.
fn choice(
    terms: Terms,
    widest: usize,
    model: usize,
    figures: &Figures,
    whole: &Whole,
) -> Result<String> {
    let prices = Prices {
        round_trip_us: 20_000,
        bytes_per_ms: 12_500,
    };
    let here = Estimate {
        terms,
        same_fingerprint: true,
        frontier_tensors: u32::try_from(widest)?,
        node_bytes: (figures.contents.quantile(1.0) * 1e3) as u64,
        node_us: (figures.node.quantile(1.0) * 1e3) as u64,
        model_us: (whole.fresh.median() * 1e3) as u64,
        input_output_bytes: whole.bytes as u64,
        model_bytes: 0,
        weight_bytes: 0,
    };
    let fetched = Estimate {
        model_bytes: model as u64,
        ..here
    };
    let (here, fetched) = (choose(&here, &prices), choose(&fetched, &prices));
    Ok(format!(
        "with the model at hand the arbitrator takes {:?}, with the model to fetch for that {:?}",
        here.method, fetched.method
    ))
}

/// Loads and runs the whole model, and runs its parts.
fn whole(
    bench: &Bench,
    backend: &OrtBackend,
    tracer: &mut Tracer<'_>,
    model: &[u8],
    inputs: &Inputs,
) -> Result<Whole> {
    let rounds = bench.pick(10, 3);
    let options = GraphOptions::on(Device::Cpu);
    let stop = StopFlag::default();
    let mut whole = Whole {
        run: Samples::default(),
        fresh: Samples::default(),
        traced: Samples::default(),
        bytes: 0.0,
    };
    let mut loaded = backend.load("whole", model, &options, &stop)?;
    let bound = loaded.io().bind(inputs.clone())?;
    let mut sizes = 0;
    for (_, value) in loaded.run(&bound, &stop)? {
        sizes += 2 * value.host_bytes()?.len();
    }
    for (_, value) in inputs {
        sizes += value.host_bytes()?.len();
    }
    whole.bytes = sizes as f64;
    for _ in 0..rounds {
        let clock = Clock::start();
        loaded.run(&bound, &stop)?;
        whole.run.push(clock.seconds() * 1e3);
        let mut trace = Trace::default();
        let clock = Clock::start();
        let frontier = tracer.begin(inputs.clone(), &mut trace)?;
        tracer.advance(frontier, tracer.nodes(), &mut trace, &stop)?;
        whole.traced.push(clock.seconds() * 1e3);
    }
    for _ in 0..bench.pick(3, 1) {
        let clock = Clock::start();
        let mut fresh = backend.load("whole", model, &options, &stop)?;
        fresh.run(&bound, &stop)?;
        whole.fresh.push(clock.seconds() * 1e3);
    }
    Ok(whole)
}

/// Nodes whose first result has numbers of `f32`, drawn from a fixed seed.
fn drawn(tracer: &Tracer<'_>, count: usize) -> Result<Vec<usize>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut found = Vec::new();
    let nodes = u64::try_from(tracer.nodes())?;
    // A bound on bad luck: most nodes of every model compute numbers.
    for _ in 0..100 * count {
        if found.len() == count {
            break;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let node = usize::try_from(state.checked_rem(nodes).context("no nodes")?)?;
        let info = tracer.node(node).context("no such node")?;
        if info.floats && !found.contains(&node) {
            found.push(node);
        }
    }
    Ok(found)
}

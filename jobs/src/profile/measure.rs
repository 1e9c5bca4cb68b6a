//! From answers to a profile.

use super::statistics::{self, Distance, Spread, Tail, distance};
use super::{
    Among, CheatRate, Detection, HonestRate, KIND, Noise, PROFILE_SCHEMA, SAMPLES_MAX, Signature,
    Skipped, Subject, Tolerance, ToleranceProfile, Variant,
};
use crate::Error;
use crate::digest::BlobRef;
use crate::outcome::Fingerprint;
use crate::package::Dtype;

/// Items over which the chance of catching a cheat is given.
const AMONG: [u32; 3] = [1, 10, 100];

/// The least tolerance in units of the last place of the element type: processors that were not measured
/// round, too, even where those that were agreed to the bit. In single precision this is 1.6e-5; the
/// largest distance seen between classes of processors, over a dozen models, was 1.3e-5.
const FLOOR_ULPS: f64 = 128.0;

/// The same in half precision, where rounding the answer itself outweighs what came before.
const FLOOR_ULPS_HALF: f64 = 8.0;

/// How far within the tolerance the careful cheat stays.
const WITHIN: f64 = 0.99;

/// How often it halves its step until the cosine does not tell.
const HALVINGS_MAX: u32 = 40;

/// The least gap below a cosine of one that is asked for.
const COSINE_FLOOR: f64 = 1e-9;

/// By how much, relative to it, a raised element exceeds the largest.
const TAMPERED_ABOVE: f64 = 1e-6;

/// An honest way to run the model, and what it answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What is special about it.
    pub name: String,
    /// The execution class.
    pub fingerprint: Fingerprint,
    /// Rows that shared a run.
    pub batch: u32,
    /// Whether it counts for noise and tolerance.
    pub counted: bool,
    /// One vector for each sample.
    pub answers: Vec<Vec<f64>>,
}

/// What a cheat answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Cheating {
    /// Which cheat.
    pub name: String,
    /// What exactly was done.
    pub how: String,
    /// One vector for each sample.
    pub answers: Vec<Vec<f64>>,
}

impl Cheating {
    /// One element of each honest answer raised: the second largest, to just above the largest, so that
    /// a choice by the largest comes out differently at the least change.
    pub fn tampered(honest: &[Vec<f64>]) -> Self {
        let tamper = |answer: &Vec<f64>| {
            let mut answer = answer.clone();
            if let Some((first, second)) = two_largest(&answer) {
                let largest = answer.get(first).copied().unwrap_or(0.0);
                let raised = largest + TAMPERED_ABOVE * largest.abs().max(f64::MIN_POSITIVE);
                if let Some(place) = answer.get_mut(second) {
                    *place = raised;
                }
            }
            answer
        };
        Self {
            name: "tampered logit".to_owned(),
            how: "in each answer the second largest element raised to just above the largest"
                .to_owned(),
            answers: honest.iter().map(tamper).collect(),
        }
    }
}

impl Cheating {
    /// The most that one who knows the tolerance can do to the choice of the largest element: the second
    /// largest raised and the largest lowered by as much as will pass. No tolerance finds it; what it
    /// gains is said.
    fn within(honest: &[Vec<f64>], tolerance: &Tolerance) -> Self {
        let (mut flipped, mut held_back) = (0_usize, 0_usize);
        let careful = |answer: &Vec<f64>| {
            let Some((first, second)) = two_largest(answer) else {
                return answer.clone();
            };
            let largest = answer.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
            let moved = |by: f64| {
                let mut moved = answer.clone();
                for (at, by) in [(first, -by), (second, by)] {
                    if let Some(value) = moved.get_mut(at) {
                        *value += by * largest;
                    }
                }
                moved
            };
            let (mut by, mut careful) = (WITHIN * tolerance.rtol, answer.clone());
            for _ in 0..HALVINGS_MAX {
                let tried = moved(by);
                if !tolerance.refuses(&distance(answer, &tried)) {
                    careful = tried;
                    break;
                }
                by /= 2.0;
            }
            held_back = held_back.saturating_add(usize::from(by < WITHIN * tolerance.rtol));
            let value = |at: usize| careful.get(at).copied().unwrap_or(0.0);
            flipped = flipped.saturating_add(usize::from(value(second) > value(first)));
            careful
        };
        let answers = honest.iter().map(careful).collect();
        let less = match held_back {
            0 => String::new(),
            some => format!(", by less in {some}, where the cosine would tell"),
        };
        Self {
            name: "within the tolerance".to_owned(),
            how: format!(
                "the two largest elements moved towards one another by {WITHIN} of the tolerance{less}, which \
                 changes the largest in {flipped} of {} answers",
                honest.len()
            ),
            answers,
        }
    }
}

/// The places of the largest element and of the second largest.
fn two_largest(answer: &[f64]) -> Option<(usize, usize)> {
    let mut best: [Option<(usize, f64)>; 2] = [None, None];
    for (value, at) in answer.iter().zip(0..) {
        let beats = |place: Option<(usize, f64)>| place.is_none_or(|(_, most)| *value > most);
        match best {
            [first, _] if beats(first) => best = [Some((at, *value)), first],
            [first, second] if beats(second) => best = [first, Some((at, *value))],
            _ => {}
        }
    }
    match best {
        [Some((first, _)), Some((second, _))] => Some((first, second)),
        _ => None,
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The model.
    pub model: BlobRef,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// What was compared.
    pub subject: Subject,
    /// The honest runs; the first is how jobs run.
    pub runs: Vec<Run>,
    /// The cheats.
    pub cheats: Vec<Cheating>,
    /// What was not measured.
    pub skipped: Vec<Skipped>,
    /// Where.
    pub machine: String,
}

/// What is asked of a tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The probability with which an honest item may be refused: what the estimate is held against.
    pub fpr: f64,
    /// By what the largest honest distance is multiplied, at least.
    pub safety: f64,
}

fn refuse(key: &str, value: impl std::fmt::Display, bound: impl Into<String>) -> Error {
    Error::Field {
        key: key.to_owned(),
        value: value.to_string().chars().take(80).collect(),
        bound: bound.into(),
    }
}

impl ToleranceProfile {
    /// Derives tolerance and rates from what was measured.
    ///
    /// # Errors
    /// If answers are not numbers, do not fit one another, or there are none; or if a setting is out of
    /// bounds.
    pub fn measure(measured: Measured, settings: Settings) -> Result<Self, Error> {
        check(&measured, settings)?;
        let honest: Vec<&Run> = measured.runs.iter().filter(|run| run.counted).collect();
        let samples = measured.subject.samples;
        let (noise, worst) = noise(&honest, samples as usize);
        let tail = Tail::fit(&worst.max_norm);
        let tolerance = tolerance(&worst, measured.subject.dtype, settings)?;
        let first = measured.runs.first().map(|run| run.answers.as_slice());
        let careful = Cheating::within(first.unwrap_or_default(), &tolerance);
        let cheats = measured.cheats.iter().chain([&careful]);
        let cheats = cheats.map(|cheat| rate(cheat, &honest, &tolerance));
        let cheats = cheats.collect();
        let honest = HonestRate {
            target: settings.fpr,
            samples,
            proven: statistics::probability_at_most(0, samples),
            tail,
            estimate: tail.map(|tail| tail.probability_beyond(tolerance.rtol)),
        };
        let profile = Self {
            kind: KIND.to_owned(),
            schema: PROFILE_SCHEMA,
            model: measured.model,
            signature: measured.signature,
            subject: measured.subject,
            variants: variants(&measured.runs),
            noise,
            tolerance,
            honest,
            cheats,
            skipped: measured.skipped,
            machine: measured.machine,
        };
        super::bounds::check(&profile)?;
        Ok(profile)
    }
}

impl Settings {
    /// Checks the bounds.
    ///
    /// # Errors
    /// Which is broken.
    pub fn check(&self) -> Result<(), Error> {
        if !(1e-15..0.5).contains(&self.fpr) {
            let bound = "must be at least 1e-15 and below 0.5";
            return Err(refuse("fpr", self.fpr, bound));
        }
        if !(1.0..=1e6).contains(&self.safety) {
            return Err(refuse("safety", self.safety, "must be 1 to 1000000"));
        }
        Ok(())
    }
}

fn check(measured: &Measured, settings: Settings) -> Result<(), Error> {
    settings.check()?;
    let samples = measured.subject.samples as usize;
    if samples == 0 || samples > SAMPLES_MAX {
        let bound = format!("must be 1 to {SAMPLES_MAX}");
        return Err(refuse("samples", samples, bound));
    }
    let counted = measured.runs.iter().filter(|run| run.counted).count();
    if counted < 2 || measured.runs.first().is_none_or(|run| !run.counted) {
        let bound = "must be two or more, the first among them: there is nothing to compare";
        return Err(refuse("counted variants", counted, bound));
    }
    let first = measured.runs.first().map(|run| run.answers.as_slice());
    let first = first.unwrap_or_default();
    let runs = measured.runs.iter().map(|run| (&run.name, &run.answers));
    let cheats = measured.cheats.iter();
    let cheats = cheats.map(|cheat| (&cheat.name, &cheat.answers));
    for (name, answers) in runs.chain(cheats) {
        if answers.len() != samples {
            let bound = format!("gave {} answers to {samples} samples", answers.len());
            return Err(refuse("run", format!("{name:?}"), bound));
        }
        for ((answer, first), at) in answers.iter().zip(first).zip(1_usize..) {
            finite(name, answer, first.len(), at)?;
        }
    }
    Ok(())
}

fn finite(name: &str, answer: &[f64], expected: usize, sample: usize) -> Result<(), Error> {
    let run = format!("{name:?}, sample {sample}");
    if answer.len() != expected || expected == 0 {
        let bound = format!("has {} elements, expected {expected}", answer.len());
        return Err(refuse("run", run, bound));
    }
    let odd = answer.iter().position(|value| !value.is_finite());
    odd.map_or(Ok(()), |at| {
        let value = answer.get(at).copied().unwrap_or_default();
        let bound = format!("element {at} is {value}: no tolerance holds for what is no number");
        Err(refuse("run", run, bound))
    })
}

/// Each sample's largest distances among honest answers.
struct Worst {
    max_norm: Vec<f64>,
    cosine_gap: Vec<f64>,
}

fn noise(honest: &[&Run], samples: usize) -> (Noise, Worst) {
    let (mut max_norm, mut cosine_gap) = (Vec::new(), Vec::new());
    let (mut identical, mut flips, mut flip_margin) = (0_u64, 0_u64, 0.0_f64);
    let mut worst = Worst {
        max_norm: vec![0.0; samples],
        cosine_gap: vec![0.0; samples],
    };
    for (run, at) in honest.iter().zip(1_usize..) {
        for other in honest.iter().skip(at) {
            let both = run.answers.iter().zip(&other.answers);
            let places = worst.max_norm.iter_mut().zip(&mut worst.cosine_gap);
            for ((a, b), (worst_norm, worst_gap)) in both.zip(places) {
                let found = distance(a, b);
                *worst_norm = worst_norm.max(found.max_norm);
                *worst_gap = worst_gap.max(found.cosine_gap);
                max_norm.push(found.max_norm);
                cosine_gap.push(found.cosine_gap);
                identical = identical.saturating_add(u64::from(found.identical));
                flips = flips.saturating_add(u64::from(found.flip.is_some()));
                flip_margin = flip_margin.max(found.flip.unwrap_or(0.0));
            }
        }
    }
    let noise = Noise {
        pairs: max_norm.len() as u64,
        identical,
        max_norm: Spread::of(&max_norm),
        cosine_gap: Spread::of(&cosine_gap),
        flips,
        flip_margin,
    };
    (noise, worst)
}

/// The tolerance for each of the two measures: the largest distance seen, times the safety factor, or the
/// floor. The tail sets nothing: where distances span orders of magnitude, as those of probabilities do, it
/// reaches further than any noise, and a tolerance that follows it lets everything pass. It only says what it
/// makes of the tolerance.
fn tolerance(worst: &Worst, dtype: Dtype, settings: Settings) -> Result<Tolerance, Error> {
    let bound = |distances: &[f64], floor: f64| {
        let seen = distances.iter().copied().fold(0.0, f64::max);
        statistics::rounded_up((seen * settings.safety).max(floor))
    };
    let floor = match dtype {
        Dtype::F16 => f64::from(half::f16::EPSILON.to_f32()) * FLOOR_ULPS_HALF,
        Dtype::F32 => f64::from(f32::EPSILON) * FLOOR_ULPS,
        Dtype::F64 => f64::EPSILON * FLOOR_ULPS,
    };
    let rtol = bound(&worst.max_norm, floor);
    let gap = bound(&worst.cosine_gap, COSINE_FLOOR);
    if !(0.0..1.0).contains(&rtol) {
        let bound = "at one everything agrees: honest answers of this model are too far apart \
                     for any tolerance";
        return Err(refuse("rtol", rtol, bound));
    }
    let tolerance = Tolerance {
        atol: 0.0,
        rtol,
        min_cosine: (1.0 - gap).max(-1.0),
        top1_margin: 2.0 * rtol,
        safety: settings.safety,
    };
    Ok(tolerance)
}

impl Tolerance {
    /// Whether an answer this far from an honest one is refused.
    fn refuses(&self, found: &Distance) -> bool {
        found.max_norm > self.rtol || 1.0 - found.cosine_gap < self.min_cosine
    }
}

fn rate(cheat: &Cheating, honest: &[&Run], tolerance: &Tolerance) -> CheatRate {
    let (mut max_norm, mut cosine_gap) = (Vec::new(), Vec::new());
    let mut caught = 0_u32;
    for (answer, at) in cheat.answers.iter().zip(0_usize..) {
        let references = honest.iter().filter_map(|run| run.answers.get(at));
        let found: Vec<Distance> = references.map(|honest| distance(honest, answer)).collect();
        let least =
            |measure: fn(&Distance) -> f64| found.iter().map(measure).fold(f64::INFINITY, f64::min);
        max_norm.push(least(|found| found.max_norm));
        cosine_gap.push(least(|found| found.cosine_gap));
        caught = caught.saturating_add(u32::from(
            found.iter().all(|found| tolerance.refuses(found)),
        ));
    }
    let items = u32::try_from(cheat.answers.len()).unwrap_or(u32::MAX);
    let per_item = f64::from(caught) / f64::from(items.max(1));
    let per_item_low = statistics::probability_at_least(caught, items);
    let among = AMONG.map(|items| Among {
        items,
        rate: statistics::among(per_item, items),
        rate_low: statistics::among(per_item_low, items),
    });
    CheatRate {
        name: cheat.name.clone(),
        how: cheat.how.clone(),
        items,
        caught,
        max_norm: Spread::of(&max_norm),
        cosine_gap: Spread::of(&cosine_gap),
        verdict: match caught {
            0 => Detection::NotDetected,
            caught if caught == items => Detection::Detected,
            _ => Detection::Partly,
        },
        per_item,
        per_item_low,
        among: among.to_vec(),
    }
}

fn variants(runs: &[Run]) -> Vec<Variant> {
    let first = runs.first().map(|run| run.answers.as_slice());
    let first = first.unwrap_or_default();
    let variant = |run: &Run| {
        let pairs = run.answers.iter().zip(first);
        let distances: Vec<Distance> = pairs.map(|(a, b)| distance(a, b)).collect();
        let identical = distances.iter().filter(|found| found.identical).count();
        let norms = distances.iter().map(|found| found.max_norm);
        Variant {
            name: run.name.clone(),
            fingerprint: run.fingerprint.clone(),
            batch: run.batch,
            counted: run.counted,
            identical: u32::try_from(identical).unwrap_or(u32::MAX),
            max_norm: norms.fold(0.0, f64::max),
        }
    };
    runs.iter().map(variant).collect()
}

//! What a language model wrote: tokens v1, and when two such outputs agree.
//!
//! An output says of each token how likely the model held it to be and by how much it was preferred
//! to any other. Replicas of other processors come to slightly other numbers, so these are compared
//! within a tolerance; and where two tokens are nearly as good, replicas may honestly part. What
//! follows is then another text, which nobody can compare token by token: such a pair is
//! [`Grade::Ambiguous`], and [`rescore`] by a model of one's own decides.
//!
//! All integers and floats are little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 4 | [`MAGIC`] |
//! | 4 | [`VERSION`] |
//! | 4 | number of tokens, at most [`TOKENS_MAX`] |
//! | 4 | bytes of text, at most [`TEXT_BYTES_MAX`] |
//! | 12 for each token | its id `u32`, its log-probability `f32`, its margin `f32` |
//! | the rest | the text, which need not be UTF-8 |
//!
//! A log-probability is finite and at most 0. A margin is finite and at least 0: by how much the
//! log-probability of the token exceeds that of the best other one, or, where tokens are drawn, how
//! far in probability the draw was from giving another ([`TokensRule::draws`]). A token that ends the
//! text is written like any other, so that where a text ends is as much compared as what it says.
//! There is exactly one encoding of an output.

use serde::{Deserialize, Serialize};

use super::{Disagreement, Finding, Grade, within};
use crate::Error;

/// What an output begins with.
pub const MAGIC: [u8; 4] = *b"ATOK";
/// The only version there is.
pub const VERSION: u32 = 1;
/// Most tokens of one output.
pub const TOKENS_MAX: u32 = 1 << 17;
/// Most bytes of text of one output.
pub const TEXT_BYTES_MAX: u32 = 4 << 20;

/// Bytes of a token.
const STEP_BYTES: usize = 12;
/// Bytes before the first token.
const HEAD_BYTES: usize = 16;

const KIND: &str = "output in tokens v1";

/// When two outputs agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensRule {
    /// By how much two log-probabilities of one token may differ. Margins are differences of two, and
    /// may differ by twice this.
    pub atol: f64,
    /// If given, tokens are drawn by a seed, margins are in probability, and they may differ by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draws: Option<f64>,
    /// If given, the root mean square of the differences of log-probabilities is at most this part of
    /// `atol`: another model may keep within the tolerance everywhere, but not by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rms: Option<f64>,
}

impl TokensRule {
    /// By how much margins may differ, which is the most that two replicas may part with.
    fn margin(&self) -> f64 {
        self.draws.unwrap_or(2.0 * self.atol)
    }
}

/// One token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its id.
    pub token: u32,
    /// Its log-probability.
    pub logprob: f32,
    /// By how much it was preferred.
    pub margin: f32,
}

impl Step {
    fn read(raw: &[u8; STEP_BYTES]) -> Self {
        let [t0, t1, t2, t3, l0, l1, l2, l3, m0, m1, m2, m3] = *raw;
        Self {
            token: u32::from_le_bytes([t0, t1, t2, t3]),
            logprob: f32::from_le_bytes([l0, l1, l2, l3]),
            margin: f32::from_le_bytes([m0, m1, m2, m3]),
        }
    }

    fn check(&self, at: usize) -> Result<(), Error> {
        let (logprob, margin) = (self.logprob, self.margin);
        if !(logprob.is_finite() && logprob <= 0.0) {
            let reason = format!(
                "the log-probability of token {at} is {logprob}, it must be finite and at most 0"
            );
            return Err(bad(reason));
        }
        if !(margin.is_finite() && margin >= 0.0) {
            let reason =
                format!("the margin of token {at} is {margin}, it must be finite and at least 0");
            return Err(bad(reason));
        }
        Ok(())
    }
}

/// A decoded output, of which nothing was copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens<'a> {
    steps: &'a [[u8; STEP_BYTES]],
    text: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// Decodes an output.
    ///
    /// # Errors
    /// If the bytes are not exactly one output within the bounds, or a number in them means nothing.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            let length = bytes.len();
            return Err(bad(format!("{length} bytes, fewer than {HEAD_BYTES}")));
        };
        let (fields, _) = head.as_chunks::<4>();
        let &[magic, version, count, text] = fields else {
            return Err(bad("no head".into()));
        };
        if magic != MAGIC {
            return Err(bad(format!("begins with {magic:?}, not with {MAGIC:?}")));
        }
        let [version, count, text] = [version, count, text].map(u32::from_le_bytes);
        if version != VERSION {
            return Err(bad(format!("version {version}, the only one is {VERSION}")));
        }
        bound("tokens", count as usize, TOKENS_MAX)?;
        bound("bytes of text", text as usize, TEXT_BYTES_MAX)?;
        let steps = (count as usize).saturating_mul(STEP_BYTES);
        if rest.len() != steps.saturating_add(text as usize) {
            let bytes = rest.len();
            let reason =
                format!("{count} tokens and {text} bytes of text do not fill {bytes} bytes");
            return Err(bad(reason));
        }
        let (steps, text) = rest.split_at_checked(steps).unwrap_or_default();
        let (steps, _) = steps.as_chunks::<STEP_BYTES>();
        let tokens = Self { steps, text };
        for (step, at) in tokens.steps().zip(0_usize..) {
            step.check(at)?;
        }
        Ok(tokens)
    }

    /// The tokens, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = Step> + 'a {
        self.steps.iter().map(Step::read)
    }

    /// The text they make.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    fn step(&self, at: usize) -> Option<Step> {
        self.steps.get(at).map(Step::read)
    }
}

/// Encodes an output.
///
/// # Errors
/// If there is too much of it, or a number in it is out of its range.
pub fn encode(steps: &[Step], text: &[u8]) -> Result<Vec<u8>, Error> {
    bound("tokens", steps.len(), TOKENS_MAX)?;
    bound("bytes of text", text.len(), TEXT_BYTES_MAX)?;
    let mut bytes = Vec::with_capacity(
        (steps.len().saturating_mul(STEP_BYTES))
            .saturating_add(text.len())
            .saturating_add(HEAD_BYTES),
    );
    bytes.extend_from_slice(&MAGIC);
    // Both lengths were checked to fit.
    for number in [VERSION, steps.len() as u32, text.len() as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for (step, at) in steps.iter().zip(0_usize..) {
        step.check(at)?;
        bytes.extend_from_slice(&step.token.to_le_bytes());
        bytes.extend_from_slice(&step.logprob.to_le_bytes());
        bytes.extend_from_slice(&step.margin.to_le_bytes());
    }
    bytes.extend_from_slice(text);
    Ok(bytes)
}

fn bad(reason: String) -> Error {
    Error::Decode { what: KIND, reason }
}

fn bound(what: &str, count: usize, max: u32) -> Result<(), Error> {
    if count <= max as usize {
        return Ok(());
    }
    Err(bad(format!("{count} {what}, more than {max}")))
}

/// Compares two outputs: the same tokens with log-probabilities and margins within the tolerance, and
/// the same text. From the first token that differs on there is nothing to compare.
pub(super) fn compare(rule: &TokensRule, left: &[u8], right: &[u8]) -> Result<(), Finding> {
    let decode = |bytes| Tokens::decode(bytes).map_err(|e| Finding::incomparable(e.to_string()));
    let (left, right) = (decode(left)?, decode(right)?);
    let mut drift = Drift::new(rule);
    for ((a, b), at) in left.steps().zip(right.steps()).zip(0_usize..) {
        if a.token != b.token {
            drift.note(parted(rule, at, Some(a), Some(b)))?;
            return drift.end();
        }
        drift.logprob(at, a.logprob, b.logprob)?;
        let (difference, most) = (apart(a.margin, b.margin), rule.margin());
        if !within(difference, most) {
            let reason =
                format!("the margin of token {at} differs by {difference:e}, more than {most:e}");
            drift.note(Finding::beyond(difference, most, reason))?;
        }
    }
    let ends = left.steps.len().min(right.steps.len());
    if left.steps.len() != right.steps.len() {
        drift.note(parted(rule, ends, left.step(ends), right.step(ends)))?;
        return drift.end();
    }
    if left.text != right.text {
        drift.note(Finding::clear("another text of the same tokens"))?;
    }
    drift.end()
}

fn apart(a: f32, b: f32) -> f64 {
    (f64::from(a) - f64::from(b)).abs()
}

/// What it shows that two outputs part at a token. Either may have gone on otherwise if it held its own
/// token to be hardly better; one that had already ended gives no margin, and the other's counts.
fn parted(rule: &TokensRule, at: usize, left: Option<Step>, right: Option<Step>) -> Finding {
    let margin = |step: Option<Step>| step.map_or(0.0, |step| f64::from(step.margin));
    let shown = |step: Option<Step>| step.map_or("the end".into(), |step| step.token.to_string());
    let (larger, most) = (margin(left).max(margin(right)), rule.margin());
    let parted = format!("token {at} is {} against {}", shown(left), shown(right));
    if within(larger, most) {
        return Finding::ambiguous(format!(
            "{parted}, each preferred by no more than {most:e}: what follows cannot be compared"
        ));
    }
    let reason = format!("{parted}, preferred by {larger:e}, more than {most:e}");
    Finding::beyond(larger, most, reason)
}

/// The gravest finding so far, and how far the log-probabilities differ on the whole.
struct Drift<'r> {
    rule: &'r TokensRule,
    gravest: Option<Finding>,
    squares: f64,
    count: f64,
}

impl<'r> Drift<'r> {
    fn new(rule: &'r TokensRule) -> Self {
        Self {
            rule,
            gravest: None,
            squares: 0.0,
            count: 0.0,
        }
    }

    /// Keeps a finding; ends the search if none can be graver.
    fn note(&mut self, finding: Finding) -> Result<(), Finding> {
        if finding.grade == Grade::Clear {
            return Err(finding);
        }
        if self
            .gravest
            .as_ref()
            .is_none_or(|g| g.grade < finding.grade)
        {
            self.gravest = Some(finding);
        }
        Ok(())
    }

    fn logprob(&mut self, at: usize, a: f32, b: f32) -> Result<(), Finding> {
        let (difference, most) = (apart(a, b), self.rule.atol);
        self.squares += difference * difference;
        self.count += 1.0;
        if within(difference, most) {
            return Ok(());
        }
        let reason = format!(
            "the log-probability of token {at} differs by {difference:e}, more than {most:e}"
        );
        self.note(Finding::beyond(difference, most, reason))
    }

    fn end(mut self) -> Result<(), Finding> {
        if let Some(part) = self.rule.rms
            && self.count > 0.0
        {
            let (rms, most) = ((self.squares / self.count).sqrt(), part * self.rule.atol);
            if !within(rms, most) {
                let reason = format!(
                    "the log-probabilities differ by {rms:e} in the mean, more than {most:e}"
                );
                self.note(Finding::beyond(rms, most, reason))?;
            }
        }
        self.gravest.map_or(Ok(()), Err)
    }
}

/// What a model of one's own makes of a claimed token, given all that was claimed before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rescored {
    /// The claimed token's log-probability.
    pub logprob: f32,
    /// How far the claimed token is from being this model's choice: 0 if it is.
    pub shortfall: f32,
}

impl Rescored {
    /// Of a model that takes the likeliest token: how much likelier its own is.
    pub fn likeliest(claimed: u32, logprob: f32, argmax: u32, best: f32) -> Self {
        let shortfall = match claimed == argmax {
            true => 0.0,
            // Keeps NaN, which `rescore` refuses.
            false if best < logprob => 0.0,
            false => best - logprob,
        };
        Self { logprob, shortfall }
    }

    /// Of a model that draws by a shared seed: how far in probability the draw lies outside of what
    /// falls to the claimed token.
    pub fn drawn(logprob: f32, outside: f32) -> Self {
        Self {
            logprob,
            shortfall: outside,
        }
    }
}

/// Checks claimed tokens against a model of one's own, which has read them and scored each: one pass,
/// however long it took to write them. The claim holds if every token is what this model would have
/// chosen, or hardly worse, **and** every claimed log-probability is this model's. The first keeps a
/// small model from writing what the real one merely scores, the second one that guesses well from
/// saying so without having computed it.
///
/// # Errors
/// The gravest disagreement, and of equally grave ones the first. It has no item: the caller knows
/// which.
pub fn rescore(
    rule: &TokensRule,
    claim: &Tokens<'_>,
    real: &[Rescored],
) -> Result<(), Disagreement> {
    rescored(rule, claim, real).map_err(|finding| Disagreement {
        item: None,
        grade: finding.grade,
        reason: finding.reason,
    })
}

fn rescored(rule: &TokensRule, claim: &Tokens<'_>, real: &[Rescored]) -> Result<(), Finding> {
    if claim.steps.len() != real.len() {
        let (claimed, real) = (claim.steps.len(), real.len());
        let reason = format!("{claimed} tokens were claimed and {real} scored");
        return Err(Finding::incomparable(reason));
    }
    let mut drift = Drift::new(rule);
    let most = rule.margin();
    for ((step, real), at) in claim.steps().zip(real).zip(0_usize..) {
        let (logprob, shortfall) = (real.logprob, f64::from(real.shortfall));
        if !logprob.is_finite() && logprob != f32::NEG_INFINITY || shortfall.is_nan() {
            let reason = format!("token {at} was scored {logprob}, short by {shortfall}");
            return Err(Finding::incomparable(reason));
        }
        if !within(shortfall, most) {
            let token = step.token;
            let reason = format!(
                "token {at} is {token}, short of the choice by {shortfall:e}, more than {most:e}"
            );
            drift.note(Finding::beyond(shortfall, most, reason))?;
        }
        drift.logprob(at, step.logprob, logprob)?;
    }
    drift.end()
}

#[cfg(test)]
mod tests;

//! `assay model`: fetching models, how far honest answers of one are apart, and what that says about cheats.

mod store;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jobs::profile::statistics::Spread;
use jobs::profile::{
    PROFILE_BYTES_MAX, Settings, SignedProfile, ToleranceProfile, VerifiedProfile,
};
use serde_json::json;

use crate::calibrate::samples::Source;
use crate::calibrate::{self, Plan};
use crate::exit::{Coded, Exit};
use crate::output::{Output, table};
use crate::place::Signer;
use crate::read;

/// The least estimate of a rate that is shown as a number.
const ESTIMATE_SHOWN_LEAST: f64 = 1e-9;

/// Fetch and measure models, and check what others measured.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Measure how far honest answers are apart, how far those of cheats are, and set a tolerance
    /// between the two.
    ///
    /// The model runs on the same samples at every optimisation level, with several threads, in
    /// batches, on a GPU if there is one and on emulated processors if asked for; then cheap models
    /// made from itself run: weights of fewer bits, a layer skipped, one number tampered with.
    Calibrate(Box<Calibrate>),
    /// Look at tolerance profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Fetch a model, pin it by digest and keep it where manifests find it.
    ///
    /// A download that breaks off is taken up by the same command again. Without a digest given, what arrives the
    /// first time is what the source is held to; with one, anything else is refused and removed.
    Pull(Box<store::Pull>),
    /// List the models that were pulled.
    List,
    /// Forget a model that was pulled.
    Rm {
        /// Its name, as `assay model list` shows it.
        name: String,
    },
}

/// Look at tolerance profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Check a profile's signature and bounds, and show what it says. Who signed is for you to judge.
    Verify {
        /// The profile.
        profile: PathBuf,
    },
}

/// What to calibrate, and how.
#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// The ONNX file.
    model: PathBuf,
    /// Samples: files of one JSON object a line, an input's name and its value for one row
    /// ({"input_ids": [1, 2, 3]}). Masks, positions, segments and empty caches may be left out.
    #[arg(long, num_args = 1.., required_unless_present = "random", conflicts_with = "random")]
    inputs: Vec<PathBuf>,
    /// Draw so many samples by the model's signature instead.
    #[arg(long)]
    random: Option<usize>,
    /// With --random: where drawing begins.
    #[arg(long, default_value_t = 1, requires = "random")]
    seed: u64,
    /// With --random: the size of dimensions that the model leaves open.
    #[arg(long, default_value_t = 16, requires = "random", value_parser = clap::value_parser!(u32).range(1..=65536))]
    length: u32,
    /// A model that somebody might run instead: same inputs, same output.
    #[arg(long)]
    rival: Option<PathBuf>,
    /// The output to compare [default: the first of floats].
    #[arg(long)]
    output: Option<String>,
    /// Compare the last position of each sample only, as whoever writes text does.
    #[arg(long)]
    last_position: bool,
    /// Replicas run the same batches: noise of batches is shown and not counted.
    #[arg(long)]
    fixed_batch: bool,
    /// Processors to emulate with qemu-user, for example Nehalem,Haswell. An emulated worker cannot be
    /// confined as others are: only for models that you trust.
    #[arg(long, value_delimiter = ',', value_parser = processor)]
    emulate: Vec<String>,
    /// The probability with which one honest item may be refused. An estimate is held against it; what
    /// sets the tolerance is --safety.
    #[arg(long, default_value_t = 1e-6)]
    fpr: f64,
    /// The tolerance is at least so many times the largest honest distance.
    #[arg(long, default_value_t = 10.0)]
    safety: f64,
    /// Write the signed profile here.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    signer: Signer,
}

/// A processor's name goes into another program's command line.
fn processor(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+=".contains(&byte);
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no name of a processor")),
    }
}

pub(crate) async fn run(command: ModelCommand, output: Output) -> Result<()> {
    match command {
        ModelCommand::Calibrate(settings) => calibrate(*settings, output).await,
        ModelCommand::Pull(pull) => store::fetch(*pull, output).await,
        ModelCommand::List => store::list(output),
        ModelCommand::Rm { name } => store::remove(&name, output),
        ModelCommand::Profile(ProfileCommand::Verify { profile }) => verify(&profile, output),
    }
}

async fn calibrate(settings: Calibrate, output: Output) -> Result<()> {
    // What would fail at the end fails at once.
    let key = match &settings.out {
        Some(out) => Some((settings.signer.load()?, out.clone())),
        None => None,
    };
    let asked = Settings {
        fpr: settings.fpr,
        safety: settings.safety,
    };
    asked.check()?;
    let plan = Plan {
        model: settings.model,
        rival: settings.rival,
        source: match settings.random {
            None => Source::Files(settings.inputs),
            Some(count) => Source::Random {
                count,
                seed: settings.seed,
                length: settings.length,
            },
        },
        output: settings.output,
        last_position: settings.last_position,
        any_batch: !settings.fixed_batch,
        emulate: settings.emulate,
    };
    let measured = calibrate::measure(plan, output).await?;
    let profile = ToleranceProfile::measure(measured, asked)?;
    if let Some((key, out)) = key {
        let signed = profile.clone().sign(&key)?;
        let written = std::fs::write(&out, signed.to_text()?);
        written.with_context(|| format!("cannot write {}", out.display()))?;
        output.say(format_args!("signed profile in {}", out.display()));
    }
    output.data(&profile, || describe(&profile))
}

/// Reads a profile and checks it.
pub(crate) fn load(path: &Path) -> Result<VerifiedProfile> {
    let named = || path.display().to_string();
    let bytes = read::bounded(path, "a tolerance profile", PROFILE_BYTES_MAX as u64)?;
    let text = String::from_utf8(bytes).with_context(named);
    let signed = SignedProfile::parse(&text.code(Exit::Usage)?).with_context(named)?;
    signed.verify().with_context(named)
}

fn verify(path: &Path, output: Output) -> Result<()> {
    let verified = load(path)?;
    let value = json!({
        "digest": verified.digest,
        "signer": verified.signer,
        "profile": verified.profile,
    });
    output.data(&value, || {
        format!(
            "profile  {}\nsigner   {}\n{}",
            verified.digest,
            verified.signer,
            describe(&verified.profile)
        )
    })
}

/// A share as people read it.
fn percent(share: f64) -> String {
    // What is not all is not shown as all.
    let tenths = (share * 1000.0).floor() / 10.0;
    format!("{tenths:.1}%")
}

fn describe(profile: &ToleranceProfile) -> String {
    let (subject, tolerance) = (&profile.subject, &profile.tolerance);
    let mut text = format!(
        "model    {} ({} bytes)\nmachine  {}\nsamples  {} ({})\noutput   {}{}, batches {}\n\n",
        profile.model.digest,
        profile.model.size,
        profile.machine,
        subject.samples,
        subject.inputs,
        subject.output,
        if subject.last_position {
            ", last position"
        } else {
            ""
        },
        if subject.any_batch {
            "of any size"
        } else {
            "as they were"
        },
    );
    text += &variants(profile);
    let noise = &profile.noise;
    text += &format!(
        "\n\nhonest noise: {} pairs, {} bitwise equal, largest element elsewhere in {} (by at most \
         {:.2e})\n{}\n\n",
        noise.pairs,
        percent(noise.identical as f64 / noise.pairs.max(1) as f64),
        noise.flips,
        noise.flip_margin,
        spreads(&[
            ("max-norm", noise.max_norm),
            ("1 - cosine", noise.cosine_gap)
        ]),
    );
    let honest = &profile.honest;
    let estimate = honest.estimate.map_or("no estimate".to_owned(), |rate| {
        let above = if rate > honest.target {
            ", MORE than asked for: take more samples, or more --safety"
        } else {
            ""
        };
        // Further out, a fitted tail says nothing but that it is far.
        let rate = match rate < ESTIMATE_SHOWN_LEAST {
            true => format!("below {ESTIMATE_SHOWN_LEAST:e}"),
            false => format!("{rate:.1e}"),
        };
        format!("{rate} estimated from a log-normal tail, which is an estimate{above}")
    });
    text += &format!(
        "tolerance: rtol {:e}, min_cosine {}, top-1 unless its margin is below {:e} (safety {})\n\
         honest items refused: at most {:.1e} proven at 95% by {} samples, {estimate}; asked for \
         {:.0e}\n\n",
        tolerance.rtol,
        tolerance.min_cosine,
        tolerance.top1_margin,
        tolerance.safety,
        honest.proven,
        honest.samples,
        honest.target,
    );
    text += &cheats(profile);
    for skipped in &profile.skipped {
        text += &format!("\nnot measured: {}: {}", skipped.what, skipped.why);
    }
    text
}

fn variants(profile: &ToleranceProfile) -> String {
    let row = |variant: &jobs::profile::Variant| {
        vec![
            variant.name.clone(),
            variant.fingerprint.digest().short(),
            format!("{}/{}", variant.identical, profile.subject.samples),
            format!("{:.2e}", variant.max_norm),
            if variant.counted { "yes" } else { "no" }.to_owned(),
        ]
    };
    let rows: Vec<_> = profile.variants.iter().map(row).collect();
    let headings = ["variant", "class", "equal bits", "max-norm", "counted"];
    table(&headings, &rows)
}

fn spreads(rows: &[(&str, Spread)]) -> String {
    let row = |(name, spread): &(&str, Spread)| {
        let mut row = vec![(*name).to_owned()];
        let values = [spread.least, spread.median, spread.p99, spread.largest];
        row.extend(values.map(|value| format!("{value:.2e}")));
        row
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    table(&["distance", "least", "median", "p99", "largest"], &rows)
}

fn cheats(profile: &ToleranceProfile) -> String {
    let row = |cheat: &jobs::profile::CheatRate| {
        let mut row = vec![
            cheat.name.clone(),
            cheat.verdict.to_string(),
            format!("{}/{}", cheat.caught, cheat.items),
        ];
        row.extend(
            cheat
                .among
                .iter()
                .map(|among| format!("{} (>= {})", percent(among.rate), percent(among.rate_low))),
        );
        row.extend([
            format!("{:.2e}", cheat.max_norm.least),
            format!("{:.2e}", cheat.max_norm.median),
            format!("{:.2e}", cheat.cosine_gap.median),
        ]);
        row
    };
    let rows: Vec<_> = profile.cheats.iter().map(row).collect();
    let mut headings = vec![
        "cheat".to_owned(),
        "verdict".to_owned(),
        "caught".to_owned(),
    ];
    let among = profile.cheats.first().map(|cheat| &cheat.among);
    let among = among.into_iter().flatten();
    headings.extend(among.map(|among| format!("of {}", among.items)));
    headings.extend(["least", "median", "1 - cosine"].map(str::to_owned));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut text = table(&headings, &rows);
    for cheat in &profile.cheats {
        text += &format!("\n  {}: {}", cheat.name, cheat.how);
    }
    text
}

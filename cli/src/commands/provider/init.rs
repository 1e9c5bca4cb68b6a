//! `assay provider init`: from a machine to a provider's key and configuration.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use jobs::money::{AMOUNT_MAX, Amount};
use serde::Serialize;

use super::local_pool;
use super::machine::{self, Machine};
use super::trial::{self, Speed};
use crate::config::setting;
use crate::control::DataDir;
use crate::exit::{Coded, Exit, fail};
use crate::output::Output;
use crate::provider_file::{self, Chosen};

/// Memory that a worker is given at least where workers are counted, in bytes.
const WORKER_BYTES: u64 = 2 << 30;

/// Workers that are suggested at most; a person may say more.
const WORKERS_SUGGESTED_MAX: u64 = 64;

/// The part of the free disk that the cache may take: a half, in all at most this many bytes.
const CACHE_BYTES_MAX: u64 = provider::CACHE_BYTES_DEFAULT;

/// What is asked for over the electricity: as much again, for the machine.
const MARGIN: f64 = 2.0;

/// Seconds and watts in a kilowatt-hour.
const JOULES_PER_KWH: f64 = 3_600_000.0;

/// Micro-units in a unit.
const MICROS: f64 = jobs::money::MICROS_PER_UNIT as f64;

/// What to make.
#[derive(Debug, Args)]
#[command(
    after_help = "Prices: with --price-per-kwh and --watts, a second of a worker costs\n  \
                  watts / workers x price per kWh / 3 600 000 x 2\n\
                  (electricity, and as much again for the machine). That is asked for a second of device time, and for \
                  10^9 units of fuel what the measured worker takes for them. Without, 0.0001 each."
)]
pub(crate) struct Init {
    #[command(flatten)]
    data: DataDir,
    /// Multiaddress of an aggregator, or the URL of its HTTP interface; may be repeated.
    #[arg(long)]
    aggregator: Vec<String>,
    /// Replace a configuration that is there. The key is never replaced.
    #[arg(long)]
    force: bool,
    /// Measure nothing; prices then are the defaults.
    #[arg(long)]
    no_benchmark: bool,
    /// What a kilowatt-hour costs, in units.
    #[arg(long, requires = "watts", conflicts_with = "no_benchmark")]
    price_per_kwh: Option<Amount>,
    /// What the machine draws when all workers are busy, in watts (1 to 100000).
    #[arg(long, requires = "price_per_kwh", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    watts: Option<u32>,
}

#[derive(Serialize)]
struct Made {
    provider: String,
    key: String,
    file: String,
    machine: Machine,
    speed: Option<Speed>,
    chosen: Chosen,
}

pub(super) async fn run(settings: Init, output: Output) -> Result<()> {
    for at in &settings.aggregator {
        if !at.starts_with('/') && setting::url(at).is_err() {
            return fail(
                Exit::Usage,
                format!(
                    "--aggregator {at:?}: expected a multiaddress, such as /ip4/192.0.2.1/tcp/7701, or a URL, such as \
                     https://aggregator.example"
                ),
            );
        }
    }
    let data = settings.data.path()?;
    let data = std::path::absolute(&data).with_context(|| data.display().to_string())?;
    provider_file::KIND.refuse_existing(&data, settings.force)?;
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let seed = match provider::identity(&data) {
        Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage)?,
        seed => seed?,
    };
    let id = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
    output.say("looking at this machine");
    let pool = local_pool(1, Vec::new())?;
    let machine = machine::look(&data, &pool).await?;
    drop(pool);
    let speed = match settings.no_benchmark {
        true => None,
        false => {
            output.say("measuring one worker, for some seconds");
            let dir = tempfile::tempdir().context("no folder for the measurement")?;
            Some(trial::measure(dir.path()).await?)
        }
    };
    let power = settings.price_per_kwh.zip(settings.watts);
    let chosen = choose(settings.aggregator, &machine, speed.as_ref(), power)?;
    let notes = notes(&machine, speed.as_ref(), power);
    let file = provider_file::KIND.write(
        &data,
        &provider_file::render(&chosen, &notes),
        settings.force,
    )?;
    let made = Made {
        provider: hex::encode(id.to_bytes()),
        key: data.join(provider::KEY_FILE).display().to_string(),
        file: file.display().to_string(),
        machine,
        speed,
        chosen,
    };
    output.data(&made, || describe(&made, &data))
}

/// What follows from the machine.
fn choose(
    aggregators: Vec<String>,
    machine: &Machine,
    speed: Option<&Speed>,
    power: Option<(Amount, u32)>,
) -> Result<Chosen> {
    let workers = workers(machine.cores, machine.memory_bytes);
    let config = provider::ProviderConfig::new("".into(), "".into(), Vec::new());
    let mut price = config.price;
    if let (Some((per_kwh, watts)), Some(speed)) = (power, speed) {
        let second =
            f64::from(watts) / f64::from(workers) * per_kwh.0 as f64 / JOULES_PER_KWH * MARGIN;
        price.per_device_second = amount(second)?;
        price.per_gfuel = amount(second * 1e9 / speed.fuel_per_second)?;
    }
    let half = (machine.disk_free_bytes / 2).min(CACHE_BYTES_MAX);
    Ok(Chosen {
        aggregators,
        workers,
        memory_max: crate::machine::guest_memory(workers),
        cache_max: half.max(provider::CACHE_BYTES_MIN),
        price_per_gfuel: price.per_gfuel,
        price_per_device_second: price.per_device_second,
    })
}

/// One for each core but one, as far as the memory goes.
fn workers(cores: usize, memory_bytes: u64) -> u16 {
    let spare = u64::try_from(cores.saturating_sub(1)).unwrap_or(u64::MAX);
    let fitting = memory_bytes / WORKER_BYTES;
    let workers = spare.min(fitting).clamp(1, WORKERS_SUGGESTED_MAX);
    u16::try_from(workers).unwrap_or(1)
}

/// Micro-units as an amount, at least one.
fn amount(micros: f64) -> Result<Amount> {
    let rounded = micros.ceil().max(1.0);
    if !rounded.is_finite() || rounded >= AMOUNT_MAX.0 as f64 {
        return fail(
            Exit::Usage,
            format!(
                "the price would be {} units: at most {AMOUNT_MAX}",
                micros / MICROS
            ),
        );
    }
    Ok(Amount(rounded as u128))
}

/// Where the values come from, for the file.
fn notes(machine: &Machine, speed: Option<&Speed>, power: Option<(Amount, u32)>) -> Vec<String> {
    let mut notes = vec![String::new(), format!("Made for {}.", machine.description)];
    if let Some(speed) = speed {
        notes.push(format!(
            "One worker burns {:.3e} fuel a second.",
            speed.fuel_per_second
        ));
    }
    if let Some((per_kwh, watts)) = power {
        notes.push(format!(
            "Prices: {watts} W / workers x {per_kwh} per kWh / 3 600 000 x {MARGIN} a second."
        ));
    }
    notes
}

fn describe(made: &Made, data: &Path) -> String {
    let machine = &made.machine;
    let mut lines = vec![
        format!("provider   {}", made.provider),
        format!("machine    {}", machine.description),
        format!("disk       {} MiB free", machine.disk_free_bytes >> 20),
    ];
    for device in &machine.devices {
        let print = &device.fingerprint;
        lines.push(format!(
            "device     {:?} {}, {} MiB, {} ({})",
            device.kind,
            device.name,
            device.memory_bytes >> 20,
            print.device,
            print.execution_provider,
        ));
    }
    match (&machine.no_models, machine.devices.first()) {
        (Some(why), _) => lines.push(format!("models     cannot be used: {why}")),
        (None, Some(device)) => lines.push(format!("models     {}", device.fingerprint.library)),
        (None, None) => {}
    }
    if let Some(speed) = &made.speed {
        lines.push(format!(
            "speed      {:.3e} fuel a second, one worker",
            speed.fuel_per_second
        ));
        if let Some((model, rate)) = &speed.model {
            lines.push(format!("           {rate:.1} items a second of {model}"));
        }
    }
    let chosen = &made.chosen;
    lines.push(format!(
        "offers     {} workers, {} MiB each, at {} for 10^9 fuel and {} for a device second",
        chosen.workers,
        chosen.memory_max >> 20,
        chosen.price_per_gfuel,
        chosen.price_per_device_second
    ));
    lines.push(machine::protection_table(&machine.protections));
    lines.push(format!(
        "\nwrote {}; look at it, then: assay provider start --data {}",
        made.file,
        data.display()
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_and_some_memory_are_left_to_the_owner() {
        const GIB: u64 = 1 << 30;
        for (cores, memory, expected) in [
            (1, 32 * GIB, 1),
            (2, 32 * GIB, 1),
            (8, 32 * GIB, 7),
            (8, 8 * GIB, 4),
            (8, GIB, 1),
            (8, 0, 1),
            (512, 4096 * GIB, 64),
        ] {
            assert_eq!(
                workers(cores, memory),
                expected,
                "{cores} cores, {memory} bytes"
            );
        }
    }

    #[test]
    fn prices_follow_from_the_electricity() {
        let machine = Machine {
            description: String::new(),
            cores: 5,
            memory_bytes: 64 << 30,
            disk_free_bytes: 10 << 30,
            devices: Vec::new(),
            no_models: None,
            protections: Vec::new(),
        };
        let speed = Speed {
            fuel_per_second: 2e9,
            model: None,
        };
        let power = Some((Amount(300_000), 360));
        let chosen = choose(Vec::new(), &machine, Some(&speed), power).unwrap();
        assert_eq!(chosen.workers, 4);
        // 90 W at 0.3 a kilowatt-hour are 7.5 micro-units a second, and as much again.
        assert_eq!(chosen.price_per_device_second, Amount(15));
        assert_eq!(chosen.price_per_gfuel, Amount(8));
        assert_eq!(chosen.cache_max, 5 << 30);
        let default = choose(Vec::new(), &machine, Some(&speed), None).unwrap();
        assert_eq!(default.price_per_gfuel, provider::PRICE_DEFAULT);
        let absurd = Some((AMOUNT_MAX, 100_000));
        let slow = Speed {
            fuel_per_second: 1.0,
            model: None,
        };
        let error = choose(Vec::new(), &machine, Some(&slow), absurd).unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
    }
}

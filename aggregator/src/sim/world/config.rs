//! The aggregator of a seed: small bounds, short times, and audits of every kind.

use jobs::ids::ProviderId;
use ledger::FeeBps;
use policy::params::RAMP_CHECKS_MAX;

use crate::core::Config;
use crate::sim::SimConfig;
use crate::sim::plan::{self, Dice};

pub(super) fn core_config(
    config: &SimConfig,
    dice: &mut Dice,
    seed: u64,
) -> Result<Config, String> {
    let aggregator = ProviderId([0xa5; 32]);
    let bps = u16::try_from(dice.range(50, 200)).unwrap_or(100);
    let mut core = Config::new(aggregator, FeeBps::new(bps).map_err(|e| e.to_string())?);
    core.accept_timeout_ms = 8_000;
    core.due_grace_ms = 5_000;
    core.reveal_timeout_ms = 10_000;
    core.merge_grace_ms = 30_000;
    core.offer_ttl_ms = 75_000;
    core.attempts_per_shard_max = u32::try_from(dice.range(12, 40)).unwrap_or(40);
    core.step_replicas_max = u32::try_from(dice.range(1, 4)).unwrap_or(4);
    core.step_looks_max = u32::try_from(dice.range(1, 60)).unwrap_or(60);
    core.provider_live_max = u32::try_from(dice.range(5, 10)).unwrap_or(10);
    core.compares_open_max = u32::try_from(dice.range(2, 32)).unwrap_or(32);
    audits(&mut core, dice, seed);
    super::validators::configure(&mut core);
    #[cfg(any(test, feature = "sabotage"))]
    {
        core.sabotage = config.sabotage;
    }
    #[cfg(not(any(test, feature = "sabotage")))]
    let _ = config;
    Ok(core)
}

/// How a seed's aggregator audits: everything or little, with referees or without, final soon or late.
fn audits(core: &mut Config, dice: &mut Dice, seed: u64) {
    core.audit.ramp_checks = match dice.chance(500) {
        true => RAMP_CHECKS_MAX,
        false => dice.range(1, 20),
    };
    core.audit.window = dice.range(4, 60);
    core.audit.fine = 300_000;
    core.share_timeout_ms = 4_000;
    core.finality_ms = dice.range(0, 40_000);
    core.audit_grace_ms = 60_000;
    // Those that can be relied on.
    let referees = if dice.chance(600) {
        dice.range(1, 3)
    } else {
        0
    };
    core.referees = (0..referees)
        .map(|index| plan::provider(seed, index))
        .collect();
}

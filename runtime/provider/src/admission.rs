//! Whether an assignment is taken, as far as its own bytes can tell. Pure: no clock, no disk.

use std::collections::BTreeSet;

use jobs::assignment::Assignment;
use jobs::envelope::SignerPolicy;
use jobs::ids::{AssignmentId, ClientId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{DeviceKind, Price};
use jobs::package::Package;
use jobs::plan;
use network::protocol::AssignRequest;
use runtime::task::SHARD_BYTES_MAX;

use crate::Refused;

/// On what terms assignments are taken.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Who we are.
    pub(crate) provider: ProviderId,
    /// The offered device.
    pub(crate) device: DeviceKind,
    /// Why models cannot be run, if they cannot.
    pub(crate) no_models: Option<String>,
    /// Largest linear memory in bytes.
    pub(crate) memory_bytes_max: u64,
    /// Largest fuel limit.
    pub(crate) fuel_max: u64,
    /// Largest model in bytes.
    pub(crate) model_bytes_max: u64,
    /// Whose jobs.
    pub(crate) signers: SignerPolicy,
    /// Whose jobs not.
    pub(crate) denied: BTreeSet<ClientId>,
    /// What is asked.
    pub(crate) price: Price,
    /// Smallest reward.
    pub(crate) reward_min: Amount,
}

/// An assignment that was checked, and its package.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) assignment: Assignment,
    pub(crate) package: Package,
    pub(crate) device: DeviceKind,
    /// What was asked when it was taken.
    pub(crate) price: Price,
}

/// Checks who sent it, what it says, and whether the terms allow it.
pub(crate) fn admit(
    terms: &Terms,
    from: ProviderId,
    request: &AssignRequest,
) -> Result<Admitted, Refused> {
    let assignment = order(terms, from, request)?;
    let verified = request
        .package
        .verify()
        .map_err(Refused::PackageSignature)?;
    if verified.id != assignment.job {
        return Err(Refused::OtherJob {
            package: verified.id.to_string(),
            job: assignment.job.to_string(),
        });
    }
    terms
        .signers
        .check(verified.client)
        .map_err(Refused::Signer)?;
    if terms.denied.contains(&verified.client) {
        return Err(Refused::Denied {
            client: verified.client.to_string(),
        });
    }
    let package = verified.package;
    shard(&assignment, &package)?;
    limits(terms, &package)?;
    if assignment.reward_max < terms.reward_min {
        return Err(Refused::Reward {
            reward: assignment.reward_max,
            least: terms.reward_min,
        });
    }
    Ok(Admitted {
        assignment,
        package,
        device: terms.device,
        price: terms.price,
    })
}

/// The order itself: signed by who sent it, made out to us, under its proper id.
fn order(terms: &Terms, from: ProviderId, request: &AssignRequest) -> Result<Assignment, Refused> {
    let verified = request.assignment.verify();
    let verified = verified.map_err(Refused::AssignmentSignature)?;
    let (signer, assignment) = (verified.signer, verified.statement);
    if signer != from || assignment.aggregator != from {
        return Err(Refused::NotTheSender {
            signer: signer.to_string(),
            named: assignment.aggregator.to_string(),
            from: from.to_string(),
        });
    }
    if assignment.provider != terms.provider {
        return Err(Refused::OtherProvider {
            provider: assignment.provider.to_string(),
        });
    }
    let Assignment {
        job,
        shard,
        attempt,
        provider,
        ..
    } = assignment;
    let expected = AssignmentId::derive(from, job, shard, attempt, provider);
    for actual in [assignment.id, request.id] {
        if actual != expected {
            return Err(Refused::AssignmentId {
                actual: actual.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    Ok(assignment)
}

fn shard(assignment: &Assignment, package: &Package) -> Result<(), Refused> {
    let Assignment {
        shard,
        first_item,
        items,
        ..
    } = *assignment;
    let span = plan::span(package.input.items, package.items_per_shard, shard);
    if !span.is_some_and(|span| assignment.fits(span)) {
        return Err(Refused::Span {
            shard,
            first_item,
            items,
        });
    }
    at_most(
        "shard input bytes",
        assignment.input.size,
        SHARD_BYTES_MAX as u64,
    )
}

fn limits(terms: &Terms, package: &Package) -> Result<(), Refused> {
    at_most("limits.fuel", package.limits.fuel, terms.fuel_max)?;
    let memory = package.limits.memory_bytes;
    at_most("limits.memory_bytes", memory, terms.memory_bytes_max)?;
    for model in &package.models {
        at_most("model bytes", model.blob.size, terms.model_bytes_max)?;
    }
    if let Some(wanted) = package.device.filter(|wanted| *wanted != terms.device) {
        return Err(Refused::Device {
            wanted,
            offered: terms.device,
        });
    }
    match &terms.no_models {
        Some(reason) if !package.models.is_empty() => Err(Refused::NoModels {
            reason: reason.clone(),
        }),
        _ => Ok(()),
    }
}

fn at_most(what: &'static str, wanted: u64, most: u64) -> Result<(), Refused> {
    if wanted <= most {
        return Ok(());
    }
    Err(Refused::Limit { what, wanted, most })
}

#[cfg(test)]
mod tests;

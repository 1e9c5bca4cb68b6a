//! One test for each way to cheat: the job finishes, the liar is not paid, the honest are, once.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Balance, Job, Market, Plan};

use crate::end_to_end::check_claims;

/// Runs a job in a market with one such liar; returns the market, the liar's id and its standing.
fn cheated(how: &str) -> Result<(Market, String, Value)> {
    let market = Market::up(&Plan::honest(2).and(how))?;
    let job = Job {
        items: 12,
        wall_ms: 2_000,
        ..Job::new(how)
    };
    let id = market.submit(&job)?;
    market.wait_done(&id)?;
    let liar = market.provider_ids().pop().context("no liar")?;
    ensure!(
        market.balance(&format!("provider:{liar}"))?.credits == 0,
        "the liar was paid"
    );
    check_claims(&market, &id, &liar)?;
    market.check_settled(std::slice::from_ref(&id))?;
    market.audit()?;
    job.check_result(&market.fetch(&id)?.join("result.items"))?;
    for honest in market.provider_ids().iter().take(2) {
        let standing = market.provider(honest)?;
        ensure!(
            standing["disagreements"] == 0,
            "an honest provider was outvoted: {standing}"
        );
        ensure!(
            standing["banned"].is_null(),
            "an honest provider was banned: {standing}"
        );
    }
    let standing = market.provider(&liar)?;
    Ok((market, liar, standing))
}

fn stake(market: &Market, provider: &str) -> Result<Balance> {
    market.balance(&format!("stake:{provider}"))
}

/// A vote costs pay and reputation, never stake.
fn lost_a_vote(how: &str) -> Result<()> {
    let (market, liar, standing) = cheated(how)?;
    assert!(standing["disagreements"].as_u64() >= Some(1), "{standing}");
    assert_eq!(standing["eligible"], false, "{standing}");
    assert!(standing["banned"].is_null(), "{standing}");
    assert!(!stake(&market, &liar)?.is_empty(), "a lost vote cost stake");
    Ok(())
}

#[test]
fn a_provider_of_wrong_outputs_is_outvoted_and_demoted() -> Result<()> {
    lost_a_vote("wrong")
}

#[test]
fn a_provider_that_makes_outputs_up_is_outvoted_and_demoted() -> Result<()> {
    lost_a_vote("lazy")
}

#[test]
fn a_provider_that_cannot_open_its_commitment_is_not_paid() -> Result<()> {
    let (_market, _, standing) = cheated("copy")?;
    let noticed = standing["failures"].as_u64() >= Some(1) || !standing["banned"].is_null();
    assert!(noticed, "nobody noticed: {standing}");
    Ok(())
}

#[test]
fn a_provider_that_stalls_loses_its_assignments_to_others() -> Result<()> {
    let (_market, _, standing) = cheated("stall")?;
    assert!(standing["failures"].as_u64() >= Some(1), "{standing}");
    Ok(())
}

#[test]
fn a_provider_that_crashes_loses_its_assignments_to_others() -> Result<()> {
    let (mut market, _, standing) = cheated("crash")?;
    assert_eq!(standing["online"], false, "{standing}");
    let crashed = market.providers.last_mut().context("no liar")?;
    let status = crashed.ended()?.context("it still runs")?;
    assert!(!status.success(), "{status}");
    Ok(())
}

#[test]
fn a_provider_that_signs_two_commitments_is_banned_and_loses_its_stake() -> Result<()> {
    let (market, liar, standing) = cheated("equivocate")?;
    assert!(!standing["banned"].is_null(), "{standing}");
    let held = stake(&market, &liar)?;
    assert!(
        held.credits > 0 && held.is_empty(),
        "the stake is still there: {held:?}"
    );
    assert_eq!(market.balance("slashed")?.credits, held.debits);
    for honest in market.provider_ids().iter().take(2) {
        assert!(
            !stake(&market, honest)?.is_empty(),
            "an honest stake is gone"
        );
    }
    Ok(())
}

//! A market's books: balances, audits, and whether every payment is accounted for.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::market::text;
use crate::money::{Balance, amount};
use crate::{Market, get};

/// What each assignment of a finished job was paid, from its record.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The assignment.
    pub assignment: String,
    /// Who executed it.
    pub provider: String,
    /// Micro-units.
    pub paid: u128,
    /// Whether it agreed.
    pub agreed: bool,
}

impl Market {
    /// Every account.
    ///
    /// # Errors
    /// If the aggregator does not answer.
    pub fn balances(&self) -> Result<BTreeMap<String, Balance>> {
        let lines = self
            .assay(&["--json", "ledger", "balances"])?
            .ok()?
            .json()?;
        lines
            .as_array()
            .context("no list of balances")?
            .iter()
            .map(Balance::parse)
            .collect()
    }

    /// One account; an unknown one is empty.
    ///
    /// # Errors
    /// If the aggregator does not answer.
    pub fn balance(&self, account: &str) -> Result<Balance> {
        Ok(self.balances()?.get(account).copied().unwrap_or_default())
    }

    /// Requires that the running aggregator's ledger audits clean.
    ///
    /// # Errors
    /// With the report if it does not.
    pub fn audit(&self) -> Result<()> {
        let report = self.assay(&["--json", "ledger", "audit"])?.ok()?.json()?;
        ensure!(report["clean"] == true, "the ledger is not clean: {report}");
        Ok(())
    }

    /// Requires that the ledger of a stopped aggregator audits clean.
    ///
    /// # Errors
    /// With the report if it does not.
    pub fn audit_at_rest(&mut self) -> Result<()> {
        self.aggregator.stop()?;
        let data = self.aggregator.data.to_string_lossy().into_owned();
        let report = self
            .assay(&["--json", "ledger", "audit", "--data", &data])?
            .ok()?
            .json()?;
        ensure!(
            report["clean"] == true,
            "the ledger at rest is not clean: {report}"
        );
        Ok(())
    }

    /// Requires that these jobs, which are all there were, are settled: escrows empty, what was put
    /// in equals what went out, and every provider's account holds exactly what the jobs paid it.
    ///
    /// # Errors
    /// Naming the first account that does not.
    pub fn check_settled(&self, jobs: &[String]) -> Result<()> {
        let balances = self.balances()?;
        let mut earned: BTreeMap<String, u128> = BTreeMap::new();
        for job in jobs {
            let view = self.view(job)?;
            let escrow = balances
                .get(&format!("escrow:{job}"))
                .copied()
                .unwrap_or_default();
            ensure!(escrow.is_empty(), "escrow of {job} holds {escrow:?}");
            ensure!(amount(&view["escrow_left"])? == 0, "escrow is left: {view}");
            let mut out = amount(&view["fee"])? + amount(&view["returned"])?;
            for pair in view["paid"].as_array().context("a job without payments")? {
                let paid = amount(&pair[1])?;
                out += paid;
                let provider = pair[0].as_str().unwrap_or_default().to_owned();
                *earned.entry(provider).or_default() += paid;
            }
            let escrowed = amount(&view["escrowed"])?;
            ensure!(
                escrowed == out,
                "{escrowed} went into the escrow of {job} and {out} out: {view}"
            );
        }
        for id in self.provider_ids() {
            let account = balances
                .get(&format!("provider:{id}"))
                .copied()
                .unwrap_or_default();
            let expected = earned.get(&id).copied().unwrap_or_default();
            ensure!(
                account.credits == expected,
                "provider {id} was credited {} and jobs paid it {expected}",
                account.credits
            );
        }
        Ok(())
    }

    /// Every replica of a finished job, from its record.
    ///
    /// # Errors
    /// If there is no record.
    pub fn claims(&self, job: &str) -> Result<Vec<Claim>> {
        let record = get(self.http(), &format!("/api/v1/jobs/{job}/record"))?.json()?;
        let shards = record["shards"]
            .as_array()
            .context("a record without shards")?;
        let replicas = shards
            .iter()
            .filter_map(|shard| shard["replicas"].as_array())
            .flatten();
        let claim = |replica: &Value| {
            Ok(Claim {
                assignment: text(replica, "assignment")?,
                provider: text(replica, "provider")?,
                paid: amount(&replica["paid"])?,
                agreed: replica["agreed"] == true,
            })
        };
        replicas.map(claim).collect()
    }
    /// Waits until a job is done, with `replicas` answers for every shard of which none was out of line and each was paid.
    ///
    /// # Errors
    /// As [`Market::wait_done`], or if any of that is not so.
    pub fn wait_agreed(&self, job: &str, replicas: u64) -> Result<()> {
        let view = self.wait_done(job)?;
        ensure!(view["disagreements"] == 0, "{view}");
        let claims = self.claims(job)?;
        let shards = view["shards"].as_u64().context("no shards")?;
        let complete = claims.len() as u64 == replicas * shards;
        ensure!(complete, "{claims:?} of {view}");
        for claim in &claims {
            ensure!(claim.agreed && claim.paid > 0, "{claim:?}");
        }
        Ok(())
    }
}

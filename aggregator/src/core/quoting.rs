//! What a job would cost, and who could take it. Asks and changes nothing.

use jobs::ids::ProviderId;
use jobs::money::Amount;
use jobs::offer::Price;

use super::Core;
use super::action::Quote;
use super::event::JobSpec;
use super::refusal::{Need, Refusal};
use super::settlement::most;
use super::state::Provider;

/// The terms on which a job would be admitted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// What it would be quoted.
    pub quote: Quote,
    /// Providers that meet everything the job needs of one, its price included, cheapest first.
    pub able: Vec<Suitor>,
    /// Why it would be refused all the same, if it would be.
    pub refused: Option<Refusal>,
}

/// A provider that could take a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suitor {
    /// Who.
    pub provider: ProviderId,
    /// What it asks.
    pub price: Price,
    /// The most that one execution within the job's limits costs at that price.
    pub most: Amount,
}

impl Core {
    /// What a job of this kind would be quoted now.
    ///
    /// # Errors
    /// If its bounds or its price make it no job, whoever is there.
    pub fn estimate(&self, spec: &JobSpec) -> Result<Estimate, Refusal> {
        self.check_bounds(spec)?;
        let quote = self.quote(spec)?;
        let mut able: Vec<Suitor> = self
            .providers
            .values()
            .filter(|provider| self.is_trusted(provider) && has_all(provider, spec, quote.share))
            .map(|provider| Suitor {
                provider: provider.offer.provider,
                price: provider.offer.price,
                most: most(&provider.offer.price, &spec.limits),
            })
            .collect();
        able.sort_by_key(|suitor| (suitor.most, suitor.provider));
        Ok(Estimate {
            quote,
            able,
            refused: self.check_served(spec, quote.share).err(),
        })
    }
}

fn has_all(provider: &Provider, spec: &JobSpec, share: Amount) -> bool {
    let mut needs = Need::of(spec, share).into_iter();
    needs.all(|need| super::admission::meets(provider, need, spec))
}

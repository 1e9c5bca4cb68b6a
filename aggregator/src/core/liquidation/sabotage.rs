//! Deliberate mistakes in liquidations, to show that the checker finds them. Outside tests and the feature `sabotage`
//! nobody can ask for one.

use policy::liquidation::{Liquidation, Votes, liquidate};

use crate::core::Core;

impl Core {
    /// What the rule says.
    #[cfg(not(any(test, feature = "sabotage")))]
    pub(super) fn ruled(&self, votes: &Votes) -> Liquidation {
        liquidate(&self.config.audit, votes)
    }

    /// What the rule says, or the one that was once published: more than the lesser of ten times the defending and
    /// two thirds of the sampled stake, whoever holds it, and no referee.
    #[cfg(any(test, feature = "sabotage"))]
    pub(super) fn ruled(&self, votes: &Votes) -> Liquidation {
        let ten_times = votes.defending.saturating_mul(10);
        let most = self.config.audit.liquidation_quorum.of(votes.sampled);
        match self.config.sabotage {
            Some(crate::core::Sabotage::MinRule) if votes.against > ten_times.min(most) => {
                Liquidation::Slash
            }
            _ => liquidate(&self.config.audit, votes),
        }
    }
}

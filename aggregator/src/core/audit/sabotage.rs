//! Deliberate mistakes in audits, to show that the checker finds them. Outside tests and the feature `sabotage` nobody
//! can ask for one.

use crate::core::Core;

#[cfg(any(test, feature = "sabotage"))]
impl Core {
    pub(super) fn pays_at_once(&self) -> bool {
        self.config.sabotage == Some(crate::core::Sabotage::PayAtOnce)
    }

    pub(super) fn forgives_all(&self) -> bool {
        self.config.sabotage == Some(crate::core::Sabotage::ForgiveAll)
    }

    pub(in crate::core) fn keeps_invalid(&self) -> bool {
        self.config.sabotage == Some(crate::core::Sabotage::KeepInvalid)
    }

    pub(super) fn audits_itself(&self) -> bool {
        self.config.sabotage == Some(crate::core::Sabotage::SelfAudit)
    }

    pub(super) fn skips_draws(&self) -> bool {
        self.config.sabotage == Some(crate::core::Sabotage::SkipDraw)
    }
}

#[cfg(not(any(test, feature = "sabotage")))]
#[expect(
    clippy::unused_self,
    reason = "the sabotaged twins read the configuration"
)]
impl Core {
    pub(super) const fn pays_at_once(&self) -> bool {
        false
    }

    pub(super) const fn forgives_all(&self) -> bool {
        false
    }

    pub(in crate::core) const fn keeps_invalid(&self) -> bool {
        false
    }

    pub(super) const fn audits_itself(&self) -> bool {
        false
    }

    pub(super) const fn skips_draws(&self) -> bool {
        false
    }
}

//! Who runs a provider, said by the operator and carried in the provider's offers.
//!
//! Providers of one operator never execute the same shard and never check one another. The operator signs,
//! so nobody can claim to belong to somebody else; that somebody keeps quiet about a kinship cannot be seen
//! from a statement, only from where the provider is reached.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ids::{OperatorId, ProviderId};
use crate::statement::{Signed, Statement};

/// "This provider is mine", signed by its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operates {
    /// Whose.
    pub provider: ProviderId,
}

impl Statement for Operates {
    const DOMAIN: &'static str = "assay/operates/v1";
}

/// Checks that the statement is signed and about `provider`.
pub(crate) fn check(stated: &Signed<Operates>, provider: ProviderId) -> Result<OperatorId, Error> {
    let verified = stated.verify()?;
    if verified.statement.provider != provider {
        return Err(Error::Field {
            key: "offer.operator".to_owned(),
            value: verified.statement.provider.to_string(),
            bound: format!("must speak of {provider}, who offers"),
        });
    }
    Ok(verified.signer)
}

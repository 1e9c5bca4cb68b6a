//! Signed statements between peers: domain-separated Ed25519 over canonical bytes, whose payload is
//! reachable only through [`Signed::verify`].

use std::marker::PhantomData;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ids::ProviderId;

/// Something a provider or an aggregator signs.
pub trait Statement: Serialize + DeserializeOwned {
    /// Separates this kind of statement from every other; part of what is signed.
    const DOMAIN: &'static str;
}

/// Largest encoded statement in bytes.
pub const STATEMENT_MAX: usize = 64 * 1024;

/// Bytes beside the statement in a signed one: signer, signature and lengths.
const SIGNATURE_ROOM: usize = 256;

/// A statement as it travels: encoded, signed, not yet believed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    payload: Vec<u8>,
    signer: ProviderId,
    signature: Vec<u8>,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

/// A statement whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    /// Whose key signed.
    pub signer: ProviderId,
    /// What was signed.
    pub statement: T,
}

impl<T: Statement> Signed<T> {
    /// Encodes and signs.
    ///
    /// # Errors
    /// If the statement cannot be encoded or is larger than [`STATEMENT_MAX`].
    pub fn sign(statement: &T, key: &SigningKey) -> Result<Self, Error> {
        let payload = postcard::to_stdvec(statement).map_err(|error| Error::Encode {
            what: T::DOMAIN,
            reason: error.to_string(),
        })?;
        check_size::<T>(payload.len())?;
        let signature = key.sign(&message::<T>(&payload)).to_bytes().to_vec();
        let signer = ProviderId(key.verifying_key().to_bytes());
        Ok(Self {
            payload,
            signer,
            signature,
            kind: PhantomData,
        })
    }

    /// Checks size, signature (strictly: no small-order keys, no malleable forms) and canonical
    /// encoding, and only then hands out the statement.
    ///
    /// # Errors
    /// If any of these checks fails.
    pub fn verify(&self) -> Result<Verified<T>, Error> {
        check_size::<T>(self.payload.len())?;
        let forged = || Error::Signature {
            what: T::DOMAIN,
            signer: self.signer.to_string(),
        };
        let key = VerifyingKey::from_bytes(&self.signer.0).map_err(|_| forged())?;
        let signature = Signature::from_slice(&self.signature).map_err(|_| forged())?;
        key.verify_strict(&message::<T>(&self.payload), &signature)
            .map_err(|_| forged())?;
        let statement: T = postcard::from_bytes(&self.payload).map_err(|error| Error::Decode {
            what: T::DOMAIN,
            reason: error.to_string(),
        })?;
        let again = postcard::to_stdvec(&statement).map_err(|error| Error::Encode {
            what: T::DOMAIN,
            reason: error.to_string(),
        })?;
        if again != self.payload {
            let reason = "not in canonical form".to_owned();
            return Err(Error::Decode {
                what: T::DOMAIN,
                reason,
            });
        }
        Ok(Verified {
            signer: self.signer,
            statement,
        })
    }

    /// The signed statement as it stands in a text: its binary encoding in hexadecimal digits.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn to_hex(&self) -> Result<String, Error> {
        let bytes = postcard::to_stdvec(self).map_err(|error| Error::Encode {
            what: T::DOMAIN,
            reason: error.to_string(),
        })?;
        Ok(hex::encode(bytes))
    }

    /// Reads what [`Signed::to_hex`] wrote. Not yet believed.
    ///
    /// # Errors
    /// If it is too large or no signed statement.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Decode {
            what: T::DOMAIN,
            reason,
        };
        // The statement, its signer and its signature, each byte as two digits.
        let most = STATEMENT_MAX
            .saturating_add(SIGNATURE_ROOM)
            .saturating_mul(2);
        if text.len() > most {
            return Err(Error::TooLarge {
                what: T::DOMAIN,
                size: text.len() as u64,
                max: most as u64,
            });
        }
        let bytes = hex::decode(text).map_err(|error| refuse(error.to_string()))?;
        postcard::from_bytes(&bytes).map_err(|error| refuse(error.to_string()))
    }

    /// The signature's bytes. They say nothing before [`Signed::verify`].
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The key that claims to have signed. Believe it only after [`Signed::verify`].
    pub const fn claimed_signer(&self) -> ProviderId {
        self.signer
    }
}

impl<T> std::fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Signed({} bytes by {:?})",
            self.payload.len(),
            self.signer
        )
    }
}

fn check_size<T: Statement>(size: usize) -> Result<(), Error> {
    if size > STATEMENT_MAX {
        return Err(Error::TooLarge {
            what: T::DOMAIN,
            size: size as u64,
            max: STATEMENT_MAX as u64,
        });
    }
    Ok(())
}

/// What is signed: length-prefixed domain, then the payload.
fn message<T: Statement>(payload: &[u8]) -> Vec<u8> {
    let domain = T::DOMAIN.as_bytes();
    let mut message = Vec::new();
    message.extend_from_slice(&(domain.len() as u64).to_le_bytes());
    message.extend_from_slice(domain);
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Ping(u32);
    impl Statement for Ping {
        const DOMAIN: &'static str = "test/ping";
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pong(u32);
    impl Statement for Pong {
        const DOMAIN: &'static str = "test/pong";
    }

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    #[test]
    fn a_signed_statement_verifies() {
        let signed = Signed::sign(&Ping(3), &key()).unwrap();
        assert_eq!(signed.verify().unwrap().statement, Ping(3));
    }

    #[test]
    fn a_signed_statement_survives_text_and_other_text_is_refused() {
        let signed = Signed::sign(&Ping(3), &key()).unwrap();
        let text = signed.to_hex().unwrap();
        assert_eq!(Signed::<Ping>::from_hex(&text).unwrap(), signed);
        let long = "0".repeat(2 * STATEMENT_MAX + 1024);
        for bad in ["", "0", "zz", &text[..text.len() - 2], &long] {
            assert!(Signed::<Ping>::from_hex(bad).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let signed = Signed::sign(&Ping(3), &key()).unwrap();
        let mut payload = signed.clone();
        payload.payload[0] ^= 1;
        let mut signature = signed.clone();
        signature.signature[5] ^= 1;
        let mut signer = signed;
        signer.signer.0[0] ^= 1;
        for tampered in [payload, signature, signer] {
            assert!(tampered.verify().is_err());
        }
    }

    #[test]
    fn a_statement_of_one_kind_is_no_statement_of_another() {
        let ping = Signed::sign(&Ping(3), &key()).unwrap();
        let bytes = postcard::to_stdvec(&ping).unwrap();
        let pong: Signed<Pong> = postcard::from_bytes(&bytes).unwrap();
        assert!(matches!(pong.verify(), Err(Error::Signature { .. })));
    }
}

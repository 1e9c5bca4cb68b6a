/// Why bytes or text could not become one of this crate's types. Every variant is the input's
/// fault, and names the offending value and the bound it broke.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Text that is not a digest.
    #[error("{value:?} is not a digest: expected \"blake3:\" and 64 hexadecimal digits")]
    Digest {
        /// The text, cut at 80 characters.
        value: String,
    },
    /// Text that is not a provider's public key.
    #[error("{value:?} is not a provider id: expected 64 hexadecimal digits")]
    ProviderId {
        /// The text, cut at 80 characters.
        value: String,
    },
    /// Text that is not an amount of money.
    #[error(
        "{value:?} is not an amount: expected units with up to six decimals, at most 10^15 units"
    )]
    Amount {
        /// The text, cut at 80 characters.
        value: String,
    },
    /// A value that could not be encoded. Ours, not the input's.
    #[error("could not encode {what}: {reason}")]
    Encode {
        /// Kind of value.
        what: &'static str,
        /// The encoder's words.
        reason: String,
    },
    /// Bytes that are not a canonical encoding.
    #[error("not a valid {what}: {reason}")]
    Decode {
        /// Kind of value.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// A signature that does not verify.
    #[error("{what}: signature by {signer} does not verify")]
    Signature {
        /// Kind of statement.
        what: &'static str,
        /// Claimed signer.
        signer: String,
    },
    /// Something larger than its bound.
    #[error("{what} has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// Kind of value.
        what: &'static str,
        /// Actual size in bytes.
        size: u64,
        /// Bound in bytes.
        max: u64,
    },
    /// A field whose value is out of bounds.
    #[error("{key} = {value}: {bound}")]
    Field {
        /// Dotted path of the key.
        key: String,
        /// The value as written.
        value: String,
        /// The bound it breaks, as a phrase (`"must be 1 to 4096"`).
        bound: String,
    },
    /// A signer that the policy does not list.
    #[error("signer {signer} is not among the {trusted} trusted signers")]
    UnknownSigner {
        /// Who signed.
        signer: String,
        /// How many signers are trusted.
        trusted: usize,
    },
    /// Content that does not hash to what was promised.
    #[error("{what} has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// Kind of content.
        what: String,
        /// What it hashes to.
        actual: String,
        /// What was promised.
        expected: String,
    },
    /// A component that is not a job.
    #[error("component is not a job: {reason}")]
    Component {
        /// Why.
        reason: String,
    },
}

//! Exit codes. Documented in `assay --help` and in README.md; programs rely on them.

use std::fmt;

/// Why the program ends. The numbers are part of the contract of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed that no other code names.
    Failure = 1,
    /// The command line or a file the user wrote is wrong.
    Usage = 2,
    /// The job ran and failed.
    JobFailed = 3,
    /// Something that should check out does not.
    Verification = 4,
    /// Not enough money, or the ledger does not balance.
    Payment = 5,
    /// Nobody answers.
    Unreachable = 6,
    /// A signature or key is missing, wrong or not trusted.
    Signature = 7,
    /// Time ran out.
    Timeout = 8,
}

/// The table shown by `assay --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failure
  2  usage: the command line or a file you wrote is wrong
  3  the job failed
  4  verification: something that should check out does not
  5  payment: not enough money, or the ledger does not balance
  6  unreachable: nobody answers
  7  signature: missing, wrong or not trusted
  8  timeout";

/// An error that knows its exit code. Attach it with [`Coded::code`].
#[derive(Debug)]
struct CodedError {
    exit: Exit,
    source: anyhow::Error,
}

impl fmt::Display for CodedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.source)
    }
}

impl std::error::Error for CodedError {}

/// Gives an error the exit code of the program that ends with it.
pub(crate) trait Coded<T> {
    /// On error, end with `exit`.
    fn code(self, exit: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Coded<T> for Result<T, E> {
    fn code(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|error| {
            CodedError {
                exit,
                source: error.into(),
            }
            .into()
        })
    }
}

/// An error with its exit code, from text.
pub(crate) fn fail<T>(exit: Exit, message: impl fmt::Display) -> anyhow::Result<T> {
    Err(anyhow::anyhow!("{message}")).code(exit)
}

/// The exit code of an error: its own, or one that follows from its kind.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(coded) = cause.downcast_ref::<CodedError>() {
            return coded.exit;
        }
        if let Some(error) = cause.downcast_ref::<api::client::Error>() {
            return of_api(error);
        }
        if let Some(error) = cause.downcast_ref::<jobs::Error>() {
            return of_jobs(error);
        }
    }
    Exit::Failure
}

fn of_api(error: &api::client::Error) -> Exit {
    use api::client::Error;
    match error {
        Error::Unreachable { .. } => Exit::Unreachable,
        Error::Content(_) => Exit::Verification,
        Error::Refused(problem) => match problem.code.as_str() {
            "insufficient-funds" | "price-too-low" => Exit::Payment,
            "signature" | "unknown-signer" | "unauthorized" | "unsigned" | "request-signature"
            | "signature-expired" | "not-yours" => Exit::Signature,
            "invalid-request" | "too-large" => Exit::Usage,
            _ => Exit::Failure,
        },
        _ => Exit::Failure,
    }
}

fn of_jobs(error: &jobs::Error) -> Exit {
    use jobs::Error;
    match error {
        Error::Signature { .. } | Error::UnknownSigner { .. } => Exit::Signature,
        Error::DigestMismatch { .. } => Exit::Verification,
        Error::Encode { .. } => Exit::Failure,
        _ => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_code_under_context() {
        let result: anyhow::Result<()> = fail(Exit::Payment, "no money");
        let error = result.unwrap_err().context("while submitting");
        assert_eq!(code_of(&error), Exit::Payment);
        assert_eq!(code_of(&anyhow::anyhow!("other")), Exit::Failure);
    }

    #[test]
    fn library_errors_map_to_codes() {
        let digest = "nonsense".parse::<jobs::digest::Digest>().unwrap_err();
        assert_eq!(code_of(&anyhow::Error::from(digest)), Exit::Usage);
    }
}

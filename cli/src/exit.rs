//! How the program ends: exit codes, and errors that say what to do. Documented in `assay --help` and in README.md;
//! programs rely on the numbers.

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
    /// A quota, a disk or another resource is exhausted.
    Resource = 9,
    /// Ctrl-C.
    Interrupted = 130,
}

/// A code, its name, what it means, and what to do.
pub(crate) type Row = (u8, &'static str, &'static str, &'static str);

/// Every exit code.
pub(crate) const CODES: [Row; 11] = [
    (0, "done", "everything asked for was done", "nothing"),
    (
        1,
        "failure",
        "something failed that no other code names",
        "read the error; ASSAY_LOG=debug says more",
    ),
    (
        2,
        "usage",
        "the command line or a file you wrote is wrong",
        "correct the value that the error names; each command has --help",
    ),
    (
        3,
        "job",
        "the job failed, or has no result yet",
        "`assay job logs JOB` says why and whose execution it was",
    ),
    (
        4,
        "verification",
        "something that should check out does not",
        "do not rely on the result; `assay job verify DIR` names what differs",
    ),
    (
        5,
        "payment",
        "not enough money, a price above your bound, or the ledger does not balance",
        "`assay job quote` says what a job costs; money comes in by the operator's `assay ledger deposit`",
    ),
    (
        6,
        "unreachable",
        "nobody answers",
        "`assay doctor` looks at the address; `assay config show --origin` says where it is from",
    ),
    (
        7,
        "signature",
        "a key or signature is missing, wrong or not trusted",
        "`assay key list` shows your keys; ask the operator whether yours is trusted",
    ),
    (
        8,
        "timeout",
        "time ran out",
        "try again, or allow more time",
    ),
    (
        9,
        "resource",
        "a quota, a disk or another resource is exhausted",
        "make room, or wait and try again",
    ),
    (
        130,
        "interrupted",
        "stopped by Ctrl-C",
        "run it again: what was begun is taken up",
    ),
];

/// The table shown by `assay --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes (`assay explain CODE` says more):
  0    done
  1    failure
  2    usage: the command line or a file you wrote is wrong
  3    the job failed
  4    verification: something that should check out does not
  5    payment: not enough money, or the ledger does not balance
  6    unreachable: nobody answers
  7    signature: missing, wrong or not trusted
  8    timeout
  9    a quota, a disk or another resource is exhausted
  130  stopped by Ctrl-C

Values come from flags, else ASSAY_* variables, else the context in use, else ~/.config/assay/config.toml,
else /etc/assay/config.toml (`assay config show --origin`).";

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

/// An error that knows what to do about it. Attach it with [`Fix::fix`].
#[derive(Debug)]
struct Fixable {
    fix: String,
    source: anyhow::Error,
}

impl fmt::Display for Fixable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.source)
    }
}

impl std::error::Error for Fixable {}

/// Says what to do about an error.
pub(crate) trait Fix<T> {
    /// On error, tell the user to do this.
    fn fix(self, fix: impl Into<String>) -> anyhow::Result<T>;
}

impl<T> Fix<T> for anyhow::Result<T> {
    fn fix(self, fix: impl Into<String>) -> Self {
        self.map_err(|source| {
            let fix = fix.into();
            Fixable { fix, source }.into()
        })
    }
}

/// An error with its exit code, from text.
pub(crate) fn fail<T>(exit: Exit, message: impl fmt::Display) -> anyhow::Result<T> {
    Err(anyhow::anyhow!("{message}")).code(exit)
}

/// The first of an error's causes for which `find` finds anything, looking into what wraps others.
pub(crate) fn among_causes<T>(
    error: &anyhow::Error,
    find: &impl Fn(&(dyn std::error::Error + 'static)) -> Option<T>,
) -> Option<T> {
    error.chain().find_map(|cause| {
        find(cause).or_else(|| {
            let coded = cause
                .downcast_ref::<CodedError>()
                .map(|coded| &coded.source);
            let fixable = || cause.downcast_ref::<Fixable>().map(|error| &error.source);
            among_causes(coded.or_else(fixable)?, find)
        })
    })
}

/// What an error was said to be mended by, where it arose.
pub(crate) fn fix_of(error: &anyhow::Error) -> Option<String> {
    among_causes(error, &|cause| {
        Some(cause.downcast_ref::<Fixable>()?.fix.clone())
    })
}

/// The exit code of an error: its own, or one that follows from its kind.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    let code = among_causes(error, &|cause| {
        if let Some(coded) = cause.downcast_ref::<CodedError>() {
            return Some(coded.exit);
        }
        if let Some(error) = cause.downcast_ref::<api::client::Error>() {
            return Some(of_api(error));
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return of_io(error);
        }
        cause.downcast_ref::<jobs::Error>().map(of_jobs)
    });
    code.unwrap_or(Exit::Failure)
}

fn of_api(error: &api::client::Error) -> Exit {
    use api::client::Error;
    match error {
        Error::Unreachable { .. } => Exit::Unreachable,
        Error::Content(_) => Exit::Verification,
        Error::Refused(problem) => crate::problems::exit_of(&problem.code),
        _ => Exit::Failure,
    }
}

fn of_io(error: &std::io::Error) -> Option<Exit> {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => {
            Some(Exit::Resource)
        }
        _ => None,
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
    fn an_error_keeps_its_fix_under_context_and_code() {
        let result: anyhow::Result<()> = fail(Exit::Usage, "wrong");
        let result = result.fix("put it right").code(Exit::Payment);
        let error = result.unwrap_err().context("while reading");
        assert_eq!(fix_of(&error).as_deref(), Some("put it right"));
        assert_eq!(code_of(&error), Exit::Payment, "the outer one");
        assert_eq!(format!("{error:#}"), "while reading: wrong");
        assert_eq!(fix_of(&anyhow::anyhow!("other")), None);
    }

    #[test]
    fn library_errors_map_to_codes() {
        let digest = "nonsense".parse::<jobs::digest::Digest>().unwrap_err();
        assert_eq!(code_of(&anyhow::Error::from(digest)), Exit::Usage);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = anyhow::Error::from(full).context("cannot write");
        assert_eq!(code_of(&full), Exit::Resource);
    }

    #[test]
    fn the_help_lists_every_code() {
        for (code, ..) in CODES {
            assert!(EXIT_CODES.contains(&format!("\n  {code} ")), "{code}");
        }
    }
}

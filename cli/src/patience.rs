//! Asking again when nobody answers, or when whoever answers says to ask later.

use std::time::Duration;

use api::client::Error;

use crate::output::Output;

/// How often a question is asked before it is given up.
const ASKS_MAX: u32 = 8;

/// Pause before the second time; doubled each time. With these an aggregator may be away for a quarter
/// of a minute.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between two times.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longest wait that is sat out if the aggregator names one: who is to come back in an hour is told so.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Asks, and asks again while the aggregator is unreachable or says that it is worth trying again soon (it is overloaded,
/// or was asked too much). For questions that may be asked twice.
///
/// # Errors
/// What it answered, or that it stayed out of reach.
pub(crate) async fn patiently<T, F>(output: Output, mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = PAUSE_MIN;
    for _ in 1..ASKS_MAX {
        let error = match ask().await {
            Err(error) => error,
            answered => return answered,
        };
        let Some(wait) = wait_for(&error, pause) else {
            return Err(error);
        };
        let seconds = wait.as_secs_f32();
        output.say(format_args!("{error}; asking again in {seconds} s"));
        tokio::time::sleep(wait).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
    ask().await
}

/// How long to wait before asking again; `None` if that is of no use.
fn wait_for(error: &Error, pause: Duration) -> Option<Duration> {
    match error {
        Error::Unreachable { .. } => Some(pause),
        Error::Refused(problem) => {
            let named = Duration::from_secs(problem.retry_after_s?.into());
            (named <= RETRY_AFTER_MAX).then(|| named.max(pause))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use api::problem::{Code, Problem};

    use super::*;

    const QUIET: Output = Output {
        json: true,
        quiet: true,
    };

    fn unreachable() -> Error {
        Error::Unreachable {
            base: "there".into(),
            reason: "nobody listens".into(),
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let mut executor = tokio::runtime::Builder::new_current_thread();
        executor.enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn who_is_away_for_a_moment_is_asked_again() {
        let mut asked = 0;
        let answer = block_on(patiently(QUIET, || {
            asked += 1;
            let answer = if asked < 3 {
                Err(unreachable())
            } else {
                Ok(asked)
            };
            async { answer }
        }));
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn an_answer_is_an_answer() {
        let mut asked = 0;
        let answer = block_on(patiently(QUIET, || {
            asked += 1;
            async { Err::<(), _>(Error::Unexpected("no".into())) }
        }));
        assert!(matches!(answer, Err(Error::Unexpected(_))), "{answer:?}");
        assert_eq!(asked, 1);
    }

    #[test]
    fn whoever_is_asked_too_much_is_asked_later_and_only_if_soon() {
        let told = |seconds| {
            let problem = Problem::of(Code::TooManyRequests, "20 requests a second");
            Error::Refused(match seconds {
                Some(seconds) => problem.after(seconds),
                None => Problem::of(Code::NobodyServes, "nobody"),
            })
        };
        let soon = Duration::from_secs(1);
        for (error, expected) in [
            (told(Some(0)), Some(PAUSE_MIN)),
            (told(Some(1)), Some(soon)),
            (told(Some(3600)), None),
            (told(None), None),
            (unreachable(), Some(PAUSE_MIN)),
            (Error::Unexpected("no".into()), None),
        ] {
            assert_eq!(wait_for(&error, PAUSE_MIN), expected, "{error}");
        }
    }
}

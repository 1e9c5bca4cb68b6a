//! Asking again when nobody answers.

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

/// Asks, and asks again while the aggregator is unreachable. For questions that may be asked twice.
///
/// # Errors
/// What it answered, or that it stayed unreachable.
pub(crate) async fn patiently<T, F>(output: Output, mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = PAUSE_MIN;
    for _ in 1..ASKS_MAX {
        match ask().await {
            Err(error @ Error::Unreachable { .. }) => {
                let seconds = pause.as_secs_f32();
                output.say(format_args!("{error}; asking again in {seconds} s"));
            }
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
    ask().await
}

#[cfg(test)]
mod tests {
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
}

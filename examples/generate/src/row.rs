//! One continuation in the making.

use assay::{Error, Sampling};
use serde::Serialize;

use crate::choose::Draws;
use crate::profile::Profile;
use crate::request::{Request, within};
use crate::vocabulary::Vocabulary;

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Finish {
    /// The model, or a stop of the item, ended it.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
}

/// A prompt and what has been written after it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) prompt: Vec<u32>,
    /// Most tokens to write.
    pub(crate) most: usize,
    /// How to draw; `None` takes the likeliest.
    pub(crate) sampling: Option<Sampling>,
    pub(crate) draws: Draws,
    stop_tokens: Vec<u32>,
    stops: Vec<String>,
    tokens: Vec<u32>,
    finish: Option<Finish>,
}

/// An output.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    text: &'a str,
    tokens: &'a [u32],
    prompt_tokens: usize,
    finish: Finish,
}

impl Row {
    /// A row with nothing written, or what is wrong with the request. The item's seed goes before `seed`.
    pub(crate) fn new(
        request: &Request,
        profile: &Profile,
        vocabulary: &Vocabulary,
        seed: u64,
    ) -> Result<Self, String> {
        for token in &request.stop_tokens {
            let last = vocabulary.size().saturating_sub(1);
            within("a stop token", *token, 0..=last)?;
        }
        let prompt = vocabulary.prompt(request)?;
        let room = profile.context.saturating_sub(request.max_new_tokens);
        let what = format!(
            "the length of the prompt in tokens, beside max_new_tokens {} in a context of {},",
            request.max_new_tokens, profile.context
        );
        within(&what, prompt.len(), 1..=room)?;
        let sampling = Sampling {
            temperature: request.temperature,
            top_k: request.top_k,
            top_p: request.top_p,
        };
        Ok(Self {
            prompt,
            most: request.max_new_tokens,
            sampling: (request.temperature > 0.0).then_some(sampling),
            draws: Draws(request.seed.unwrap_or(seed)),
            stop_tokens: [profile.stops, &request.stop_tokens].concat(),
            stops: request.stop.clone(),
            tokens: Vec::new(),
            finish: None,
        })
    }

    /// Takes the next token, which may end the row; returns whether it goes on.
    pub(crate) fn push(&mut self, token: u32, vocabulary: &Vocabulary) -> Result<bool, Error> {
        if self.stop_tokens.contains(&token) {
            self.finish = Some(Finish::Stop);
            return Ok(false);
        }
        self.tokens.push(token);
        if !self.stops.is_empty() && self.cut(&vocabulary.text(&self.tokens)?).is_some() {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() >= self.most {
            self.finish = Some(Finish::Length);
        }
        Ok(self.is_open())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.finish.is_none()
    }

    /// The token to go on from; none before the first and after the last.
    pub(crate) fn last(&self) -> Option<u32> {
        self.tokens.last().copied().filter(|_| self.is_open())
    }

    /// Tokens written.
    pub(crate) fn length(&self) -> usize {
        self.tokens.len()
    }

    /// The output, once the row has ended. Its tokens are those that were written, without the one that ended it; a
    /// stop string is cut from the text alone.
    pub(crate) fn answer(&self, vocabulary: &Vocabulary) -> Result<Vec<u8>, Error> {
        let finish = self
            .finish
            .ok_or_else(|| Error::failed("a continuation did not end"))?;
        let text = vocabulary.text(&self.tokens)?;
        let answer = Answer {
            text: text
                .get(..self.cut(&text).unwrap_or(text.len()))
                .unwrap_or(&text),
            tokens: &self.tokens,
            prompt_tokens: self.prompt.len(),
            finish,
        };
        serde_json::to_vec(&answer).map_err(Error::failed)
    }

    /// Where the first of the stop strings begins.
    fn cut(&self, text: &str) -> Option<usize> {
        self.stops.iter().filter_map(|stop| text.find(stop)).min()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Row;
    use crate::profile::Profile;
    use crate::request::Request;
    use crate::vocabulary::Vocabulary;

    pub(crate) fn row(item: &str) -> Result<Row, String> {
        let profile = Profile::of(&["tinylm".to_owned()]).unwrap();
        Row::new(
            &Request::parse(item.as_bytes()).unwrap(),
            profile,
            &Vocabulary::Bytes,
            9,
        )
    }

    /// The output after the model wrote these bytes, or as many of them as it was let.
    fn answer(item: &str, written: &str) -> String {
        let mut row = row(item).unwrap();
        for byte in written.bytes() {
            if !row.push(u32::from(byte), &Vocabulary::Bytes).unwrap() {
                break;
            }
        }
        String::from_utf8(row.answer(&Vocabulary::Bytes).unwrap()).unwrap()
    }

    #[test]
    fn a_row_ends_where_it_is_told_to() {
        for (item, expected) in [
            (
                r#"{"prompt":"xy","max_new_tokens":3}"#,
                r#"{"text":"abc","tokens":[97,98,99],"prompt_tokens":2,"finish":"length"}"#,
            ),
            (
                r#"{"prompt":"x","stop_tokens":[99]}"#,
                r#"{"text":"ab","tokens":[97,98],"prompt_tokens":1,"finish":"stop"}"#,
            ),
            (
                r#"{"prompt":"x","stop":["z","bc","c"]}"#,
                r#"{"text":"a","tokens":[97,98,99],"prompt_tokens":1,"finish":"stop"}"#,
            ),
            (
                r#"{"prompt":"x","stop":["abc"],"max_new_tokens":3}"#,
                r#"{"text":"","tokens":[97,98,99],"prompt_tokens":1,"finish":"stop"}"#,
            ),
        ] {
            assert_eq!(answer(item, "abcdef"), expected, "{item}");
        }
    }

    #[test]
    fn a_row_that_goes_on_has_no_output() {
        assert!(row("x").unwrap().answer(&Vocabulary::Bytes).is_err());
    }

    #[test]
    fn prompt_and_continuation_fit_the_context() {
        let long = |bytes: usize| row(&format!(r#"{{"prompt":"{}"}}"#, "x".repeat(bytes)));
        assert!(long(64).is_ok());
        let error = long(65).unwrap_err();
        assert!(
            error.contains("max_new_tokens 64 in a context of 128, is 65, it must be 1 to 64"),
            "{error}"
        );
        let error = row(r#"{"prompt":"x","stop_tokens":[256]}"#).unwrap_err();
        assert!(
            error.contains("a stop token is 256, it must be 0 to 255"),
            "{error}"
        );
    }

    #[test]
    fn draws_start_at_the_items_seed_or_else_at_the_shards() {
        let first = |item: &str| row(item).unwrap().draws.next();
        let own = first(r#"{"prompt":"x","temperature":1,"seed":5}"#);
        assert_eq!(own, first(r#"{"prompt":"y","temperature":2,"seed":5}"#));
        assert_ne!(own, first(r#"{"prompt":"x","temperature":1}"#));
        assert!(
            row(r#"{"prompt":"x","temperature":0}"#)
                .unwrap()
                .sampling
                .is_none()
        );
        assert!(
            row(r#"{"prompt":"x","temperature":1}"#)
                .unwrap()
                .sampling
                .is_some()
        );
    }
}

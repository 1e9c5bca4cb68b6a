//! What an item asks for. An item that begins with `{` is a JSON object; any other is the prompt itself.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::Deserialize;

/// Most tokens of one continuation.
pub(crate) const NEW_TOKENS_MAX: usize = 512;
/// Largest temperature: beyond it all tokens are nearly alike.
const TEMPERATURE_MAX: f32 = 10.0;
/// Most tokens that sampling chooses among.
const TOP_K_MAX: u32 = 1024;
/// Most stop strings, and most stop tokens, of one item.
const STOPS_MAX: usize = 8;
/// Longest stop string in bytes.
const STOP_BYTES_MAX: usize = 64;

/// One item, its values within their bounds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// What is asked, or what is continued.
    pub(crate) prompt: String,
    /// Who the model is to be; a model that chats has a default.
    #[serde(default)]
    pub(crate) system: Option<String>,
    /// Most tokens to write.
    #[serde(default = "new_tokens")]
    pub(crate) max_new_tokens: usize,
    /// 0 takes the most likely token each time; above, logits are divided by it and a token is drawn.
    #[serde(default)]
    pub(crate) temperature: f32,
    /// Only that many of the likeliest tokens are drawn from.
    #[serde(default = "top_k")]
    pub(crate) top_k: u32,
    /// Of these, only the fewest that are together as likely.
    #[serde(default = "top_p")]
    pub(crate) top_p: f32,
    /// Draws as this says instead of as the job and the shard say.
    #[serde(default)]
    pub(crate) seed: Option<u64>,
    /// Texts that end the continuation and are no part of it.
    #[serde(default)]
    pub(crate) stop: Vec<String>,
    /// Tokens that do, besides the model's own.
    #[serde(default)]
    pub(crate) stop_tokens: Vec<u32>,
}

const fn new_tokens() -> usize {
    64
}

const fn top_k() -> u32 {
    50
}

const fn top_p() -> f32 {
    1.0
}

impl Request {
    /// Reads an item; says what is wrong with it, with the value and the bound.
    pub(crate) fn parse(item: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(item).map_err(|error| format!("is not text: {error}"))?;
        let request = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            Self::plain(text)
        };
        request.check()?;
        Ok(request)
    }

    /// A prompt and nothing said about it.
    pub(crate) fn plain(prompt: &str) -> Self {
        Self {
            prompt: prompt.to_owned(),
            system: None,
            max_new_tokens: new_tokens(),
            temperature: 0.0,
            top_k: top_k(),
            top_p: top_p(),
            seed: None,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.prompt.is_empty() {
            return Err("prompt is empty".to_owned());
        }
        within("max_new_tokens", self.max_new_tokens, 1..=NEW_TOKENS_MAX)?;
        within("temperature", self.temperature, 0.0..=TEMPERATURE_MAX)?;
        within("top_k", self.top_k, 1..=TOP_K_MAX)?;
        // An `f32` above 0 and none below the smallest of them.
        within("top_p", self.top_p, f32::MIN_POSITIVE..=1.0)?;
        within("the number of stop strings", self.stop.len(), 0..=STOPS_MAX)?;
        let tokens = self.stop_tokens.len();
        within("the number of stop tokens", tokens, 0..=STOPS_MAX)?;
        for stop in &self.stop {
            let what = format!("the length in bytes of the stop string {stop:?}");
            within(&what, stop.len(), 1..=STOP_BYTES_MAX)?;
        }
        Ok(())
    }
}

/// Whether a value is within its bounds; not a number is not.
pub(crate) fn within<T: PartialOrd + Display>(
    what: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(format!("{what} is {value}, it must be {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn an_item_is_a_prompt_or_an_object_that_has_one() {
        let plain = Request::parse(" What is {this}?".as_bytes()).unwrap();
        assert_eq!(plain, Request::plain(" What is {this}?"));
        let short = Request::parse(br#"{"prompt":" What is {this}?"}"#).unwrap();
        assert_eq!(short, plain);
        let full = r#"{"prompt":"a","system":"b","max_new_tokens":512,"temperature":0.7,"top_k":5,"top_p":0.9,
            "seed":18446744073709551615,"stop":["\n","."],"stop_tokens":[7]}"#;
        let full = Request::parse(full.as_bytes()).unwrap();
        assert_eq!((full.seed, full.top_k), (Some(u64::MAX), 5));
        assert_eq!((full.stop.len(), full.stop_tokens.len()), (2, 1));
    }

    #[test]
    fn what_is_wrong_with_an_item_is_said_with_its_value_and_bound() {
        let many = format!(r#"{{"prompt":"a","stop_tokens":{:?}}}"#, [1; 9]);
        let long = format!(r#"{{"prompt":"a","stop":["{}"]}}"#, "x".repeat(65));
        let cases: [(&str, &str); 16] = [
            ("", "prompt is empty"),
            (r#"{"prompt":""}"#, "prompt is empty"),
            (r"{}", "missing field `prompt`"),
            (r#"{"prompt":"a"} b"#, "trailing characters"),
            (r#"{"prompt":7}"#, "integer `7`, expected a string"),
            (
                r#"{"prompt":"a","max_tokens":7}"#,
                "unknown field `max_tokens`",
            ),
            (
                r#"{"prompt":"a","max_new_tokens":0}"#,
                "max_new_tokens is 0, it must be 1 to 512",
            ),
            (
                r#"{"prompt":"a","max_new_tokens":513}"#,
                "is 513, it must be 1 to 512",
            ),
            (r#"{"prompt":"a","max_new_tokens":-1}"#, "integer `-1`"),
            (
                r#"{"prompt":"a","temperature":10.5}"#,
                "temperature is 10.5, it must be 0 to 10",
            ),
            (
                r#"{"prompt":"a","temperature":1e400}"#,
                "number out of range",
            ),
            (
                r#"{"prompt":"a","top_k":1025}"#,
                "top_k is 1025, it must be 1 to 1024",
            ),
            (r#"{"prompt":"a","top_p":0}"#, "top_p is 0, it must be "),
            (
                r#"{"prompt":"a","stop":[""]}"#,
                "stop string \"\" is 0, it must be 1 to 64",
            ),
            (&long, "is 65, it must be 1 to 64"),
            (&many, "the number of stop tokens is 9, it must be 0 to 8"),
        ];
        for (item, reason) in cases {
            let error = Request::parse(item.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{item}: {error}");
        }
        let error = Request::parse(b"caf\xe9").unwrap_err();
        assert!(error.contains("is not text"), "{error}");
    }
}

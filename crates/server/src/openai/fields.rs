//! Which fields a request may have. Each is acted on, or is a hint that cannot change an answer, or may be sent with
//! the values that mean "off"; anything else is refused by name, never ignored.

use serde_json::{Map, Value};

use super::body::shown;
use super::error::OpenAiError;

/// The two kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `chat/completions`.
    Chat,
    /// `completions`.
    Completions,
}

/// Fields that [`super::options`] reads, for both endpoints.
const SUPPORTED: &[&str] = &[
    "model",
    "context_length_exceeded_behavior",
    "echo",
    "echo_last",
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "min_p",
    "n",
    "perf_metrics_in_response",
    "presence_penalty",
    "raw_output",
    "repetition_penalty",
    "response_format",
    "return_token_ids",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
    "typical_p",
];
/// Fields of chats that [`super::request`] reads besides.
const SUPPORTED_CHAT: &[&str] =
    &["messages", "parallel_tool_calls", "prompt_truncate_len", "tool_choice", "tools"];
/// Fields of completions that [`super::request`] reads besides.
const SUPPORTED_COMPLETIONS: &[&str] = &["prompt"];

/// What a hint's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    TextOrObject,
    TextOrList,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// Fields that say how a request could be served faster, or who sent it. By definition they never change an answer, so
/// they are checked and have no effect here: nothing is cached between requests, nothing is predicted, and there is one
/// tier of service.
const HINTS: &[(&str, Kind)] = &[
    ("prediction", Kind::TextOrObject),
    ("prompt_cache_isolation_key", Kind::Text),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_max_len", Kind::Integer),
    ("prompt_cache_retention", Kind::Text),
    ("safety_identifier", Kind::Text),
    // "priority" is refused: there is none.
    ("service_tier", Kind::Word(&["auto", "default", "flex"])),
    ("speculation", Kind::TextOrList),
    ("user", Kind::Text),
];

/// A field and the values, as JSON, that change nothing. `null` is always among them.
type Off = (&'static str, &'static [&'static str]);

/// Fields of both endpoints that are not acted on.
const NOT_SUPPORTED: &[Off] = &[
    ("metadata", &["{}"]),
    ("mirostat_lr", &[]),
    ("mirostat_target", &[]),
    // Also "none" is refused: a template may let its model think unless it is told not to.
    ("reasoning_effort", &[]),
    ("reasoning_history", &[]),
    ("thinking", &[]),
];
const NOT_SUPPORTED_CHAT: &[Off] = &[
    ("audio", &[]),
    ("function_call", &[r#""none""#]),
    ("functions", &["[]"]),
    ("modalities", &[r#"["text"]"#]),
    ("safe_tokenization", &["false"]),
    ("store", &["false"]),
    ("verbosity", &[]),
    ("web_search_options", &[]),
];
const NOT_SUPPORTED_COMPLETIONS: &[Off] =
    &[("best_of", &["1"]), ("images", &["[]"]), ("prompt_truncate_len", &[]), ("suffix", &[r#""""#])];

/// Fields that the document of the API describes: those that are acted on, and the hints.
#[cfg(test)]
pub fn accepted(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let more = match endpoint {
        Endpoint::Chat => SUPPORTED_CHAT,
        Endpoint::Completions => SUPPORTED_COMPLETIONS,
    };
    SUPPORTED.iter().chain(more).copied().chain(HINTS.iter().map(|(name, _)| *name))
}

/// Refuses what would be ignored otherwise.
///
/// # Errors
/// Names the first field that is not known, or known and not supported with this value.
pub fn check(body: &Map<String, Value>, endpoint: Endpoint) -> Result<(), OpenAiError> {
    let (supported, not_supported) = match endpoint {
        Endpoint::Chat => (SUPPORTED_CHAT, NOT_SUPPORTED_CHAT),
        Endpoint::Completions => (SUPPORTED_COMPLETIONS, NOT_SUPPORTED_COMPLETIONS),
    };
    for (name, value) in body {
        if [SUPPORTED, supported].concat().contains(&name.as_str()) {
            continue;
        }
        if let Some((known, kind)) = HINTS.iter().find(|(known, _)| known == name) {
            check_hint(known, *kind, value)?;
            continue;
        }
        let Some((known, off)) = NOT_SUPPORTED.iter().chain(not_supported).find(|(known, _)| known == name)
        else {
            let name = shown(name);
            return Err(OpenAiError {
                code: "unknown_parameter",
                ..OpenAiError::invalid(&name, format!("unrecognized request argument: {name}"))
            });
        };
        if !value.is_null() && !off.iter().any(|off| means(value, off)) {
            return Err(OpenAiError::unsupported(known));
        }
    }
    Ok(())
}

fn check_hint(name: &str, kind: Kind, value: &Value) -> Result<(), OpenAiError> {
    let (fits, what) = match kind {
        Kind::Text => (value.is_string(), "a string"),
        Kind::Integer => (value.is_i64() || value.is_u64(), "an integer"),
        Kind::TextOrObject => (value.is_string() || value.is_object(), "a string or an object"),
        Kind::TextOrList => (value.is_string() || value.is_array(), "a string or a list"),
        Kind::Word(words) => match value.as_str() {
            Some(word) if !words.contains(&word) => return Err(OpenAiError::unsupported(name)),
            word => (word.is_some(), "a string"),
        },
    };
    if fits || value.is_null() {
        return Ok(());
    }
    Err(OpenAiError::invalid(name, format!("{name} must be {what}")))
}

/// Whether `value` is the JSON text `off`; numbers are compared as numbers, so that 0.0 is 0.
fn means(value: &Value, off: &str) -> bool {
    match value.as_f64() {
        Some(number) => off.parse() == Ok(number),
        None => serde_json::from_str::<Value>(off).is_ok_and(|off| off == *value),
    }
}

//! Fields of a chat request that are known but not acted on. Each may be sent with the value that means
//! "off"; anything else is refused by name, never ignored.

use serde_json::{Map, Value};

use super::error::OpenAiError;
use super::request::SHOWN_NAME_CHARS_MAX;

/// Fields that [`super::request`] reads.
pub const SUPPORTED: [&str; 12] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "stream",
    "stream_options",
    "n",
    // OpenAI defines it as a tag of the end user, for the operator's records; it never changes an answer.
    "user",
];

/// A field and the values, as JSON, that change nothing. `null` is always among them.
const NOT_SUPPORTED: &[(&str, &[&str])] = &[
    ("audio", &[]),
    ("context_length_exceeded_behavior", &[r#""truncate""#]),
    ("echo", &["false"]),
    ("echo_last", &["0"]),
    ("frequency_penalty", &["0"]),
    ("function_call", &[r#""none""#]),
    ("functions", &["[]"]),
    ("ignore_eos", &["false"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("metadata", &["{}"]),
    ("min_p", &["0"]),
    ("mirostat_lr", &[]),
    ("mirostat_target", &[]),
    ("modalities", &[r#"["text"]"#]),
    ("parallel_tool_calls", &["true"]),
    ("perf_metrics_in_response", &["false"]),
    ("prediction", &[]),
    ("presence_penalty", &["0"]),
    ("prompt_cache_isolation_key", &[]),
    ("prompt_cache_key", &[]),
    ("prompt_cache_max_len", &[]),
    ("prompt_cache_retention", &[]),
    ("prompt_truncate_len", &[]),
    ("raw_output", &["false"]),
    ("reasoning_effort", &[r#""none""#]),
    ("reasoning_history", &[]),
    ("repetition_penalty", &["1"]),
    ("response_format", &[r#"{"type":"text"}"#]),
    ("return_token_ids", &["false"]),
    ("safe_tokenization", &["false"]),
    ("safety_identifier", &[]),
    ("service_tier", &[r#""auto""#, r#""default""#]),
    ("speculation", &[]),
    ("store", &["false"]),
    ("thinking", &[r#"{"type":"disabled"}"#]),
    ("tool_choice", &[r#""none""#, r#""auto""#]),
    ("tools", &["[]"]),
    ("top_k", &["0"]),
    ("top_logprobs", &["0"]),
    ("typical_p", &["1"]),
    ("verbosity", &[]),
    ("web_search_options", &[]),
];

/// Refuses what would be ignored otherwise.
///
/// # Errors
/// Names the first field that is not known, or known and not supported with this value.
pub fn check(body: &Map<String, Value>) -> Result<(), OpenAiError> {
    for (name, value) in body {
        if SUPPORTED.contains(&name.as_str()) {
            continue;
        }
        let Some((known, off)) = NOT_SUPPORTED.iter().find(|(known, _)| known == name) else {
            let shown: String = name.chars().take(SHOWN_NAME_CHARS_MAX).collect();
            return Err(OpenAiError {
                code: "unknown_parameter",
                ..OpenAiError::invalid(&shown, format!("unrecognized request argument: {shown}"))
            });
        };
        if !value.is_null() && !off.iter().any(|off| means(value, off)) {
            return Err(OpenAiError::unsupported(known));
        }
    }
    Ok(())
}

/// Whether `value` is the JSON text `off`; numbers are compared as numbers, so that 0.0 is 0.
fn means(value: &Value, off: &str) -> bool {
    match value.as_f64() {
        Some(number) => off.parse() == Ok(number),
        None => serde_json::from_str::<Value>(off).is_ok_and(|off| off == *value),
    }
}

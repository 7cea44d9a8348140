//! Typed access to the JSON of a request.

use serde_json::{Map, Value};

use super::error::OpenAiError;

/// Characters of a name from the request that an error repeats.
pub const SHOWN_NAME_CHARS_MAX: usize = 128;

/// The beginning of a name from the request, for errors.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN_NAME_CHARS_MAX).collect()
}

/// The members of a body.
///
/// # Errors
/// For bodies that are not JSON, or not an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, OpenAiError> {
    let value: Value = serde_json::from_slice(body).map_err(|e| OpenAiError {
        param: None,
        code: "invalid_json",
        // serde_json's text says line and column, and quotes nothing of the body but single characters.
        ..OpenAiError::invalid("", format!("the request body is not valid JSON: {e}"))
    })?;
    let Value::Object(body) = value else {
        return Err(OpenAiError {
            param: None,
            ..OpenAiError::invalid("", "the request body must be an object")
        });
    };
    Ok(body)
}

/// Typed access to an object's members; `null` is the same as absent.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        self,
        name: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, OpenAiError> {
        self.get(name)
            .map(|value| {
                read(value).ok_or_else(|| OpenAiError::invalid(name, format!("{name} must be {what}")))
            })
            .transpose()
    }

    pub(super) fn string(self, name: &str) -> Result<Option<&'a str>, OpenAiError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// False if it is not there.
    pub(super) fn boolean(self, name: &str) -> Result<bool, OpenAiError> {
        Ok(self.typed(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn number(self, name: &str) -> Result<Option<f32>, OpenAiError> {
        self.typed(name, "a number", |value| value.as_f64().map(|x| x as f32))
    }

    pub(super) fn integer(self, name: &str) -> Result<Option<i64>, OpenAiError> {
        self.typed(name, "a 64-bit integer", Value::as_i64)
    }

    /// An integer from 0 on.
    pub(super) fn count(self, name: &str) -> Result<Option<usize>, OpenAiError> {
        let Some(n) = self.integer(name)? else { return Ok(None) };
        let negative = |_| OpenAiError::invalid(name, format!("{name} must not be negative, not {n}"));
        usize::try_from(n).map(Some).map_err(negative)
    }

    /// One of several words, as its place among them.
    pub(super) fn word(self, name: &str, words: &[&str]) -> Result<Option<usize>, OpenAiError> {
        let what = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
        let place = |value: &Value| words.iter().position(|word| value.as_str() == Some(word));
        self.typed(name, &what, place)
    }
}

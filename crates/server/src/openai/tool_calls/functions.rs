//! Calls as `<function=NAME>` with `<parameter=KEY>` in it, as Qwen 3 Coder writes them between its tags.
//!
//! A value stands there as it is, so that only the tool's schema tells whether `3` is a text.

use hearth_inference::Tool;
use serde_json::{Map, Value};

use super::CLOSE;

const FUNCTION: &str = "<function=";
const FUNCTION_CLOSE: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_CLOSE: &str = "</parameter>";

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// Name and JSON text of the arguments; what comes after the closing tag.
    Call((String, String), &'a str),
    /// More text must come before it can be told.
    More,
    /// It is no call.
    Broken,
}

/// Reads what stands behind the opening tag, up to the closing one.
pub(super) fn read<'a>(text: &'a str, tools: &[Tool]) -> Read<'a> {
    match function(text, tools) {
        Ok((call, rest)) => Read::Call(call, rest),
        Err(Stop::More) => Read::More,
        Err(Stop::Broken) => Read::Broken,
    }
}

enum Stop {
    More,
    Broken,
}

fn function<'a>(text: &'a str, tools: &[Tool]) -> Result<((String, String), &'a str), Stop> {
    let (name, mut rest) = name(expect(text, FUNCTION)?)?;
    let parameters = tools.iter().find(|tool| tool.name == name).map(|tool| &tool.parameters["properties"]);
    let mut arguments = Map::new();
    loop {
        match expect(rest, FUNCTION_CLOSE) {
            Ok(after) => {
                let after = expect(after, CLOSE)?;
                return Ok(((name.to_owned(), Value::Object(arguments).to_string()), after));
            }
            Err(Stop::More) => return Err(Stop::More),
            Err(Stop::Broken) => {}
        }
        let (key, after) = self::name(expect(rest, PARAMETER)?)?;
        let (text, after) = value(after)?;
        let schema = parameters.and_then(|parameters| parameters.get(key));
        arguments.insert(key.to_owned(), typed(text, schema));
        rest = after;
    }
}

/// What follows `token`, with white space before it.
fn expect<'a>(text: &'a str, token: &str) -> Result<&'a str, Stop> {
    let text = text.trim_start();
    match text.strip_prefix(token) {
        Some(rest) => Ok(rest),
        None if token.starts_with(text) => Err(Stop::More),
        None => Err(Stop::Broken),
    }
}

/// A name up to `>`, and what follows.
fn name(text: &str) -> Result<(&str, &str), Stop> {
    let (name, rest) = text.split_once('>').ok_or(Stop::More)?;
    let name = name.trim();
    if name.is_empty() || name.contains(['<', '\n']) { Err(Stop::Broken) } else { Ok((name, rest)) }
}

/// A value, and what follows its end: the first one after which a parameter, or the end of the whole call, comes.
fn value(text: &str) -> Result<(&str, &str), Stop> {
    for (at, _) in text.match_indices(PARAMETER_CLOSE) {
        let rest = &text[at + PARAMETER_CLOSE.len()..];
        let ends = match expect(rest, PARAMETER) {
            Err(Stop::Broken) => expect(rest, FUNCTION_CLOSE).and_then(|rest| expect(rest, CLOSE)),
            begun => begun,
        };
        match ends {
            Ok(_) => {
                // A line break at each end belongs to the tags.
                let text = text[..at].strip_prefix('\n').unwrap_or(&text[..at]);
                return Ok((text.strip_suffix('\n').unwrap_or(text), rest));
            }
            Err(Stop::More) => return Err(Stop::More),
            Err(Stop::Broken) => {}
        }
    }
    Err(Stop::More)
}

/// The JSON that a text stands for, by what the schema allows. What is nothing else is a text.
fn typed(text: &str, schema: Option<&Value>) -> Value {
    let as_text = || Value::String(text.to_owned());
    let json = match text.trim() {
        // Templates in Python write them so when they show earlier calls.
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        text => match serde_json::from_str(text) {
            Ok(json) => json,
            Err(_) => return as_text(),
        },
    };
    let allowed = types(schema.unwrap_or(&Value::Null));
    let is_allowed = |kind: &str| match allowed.as_slice() {
        // Nothing is said: a number may be meant as a text, an object hardly.
        [] => matches!(kind, "object" | "array"),
        allowed => allowed.contains(&kind),
    };
    let fits = match &json {
        Value::Null => is_allowed("null"),
        Value::Bool(_) => is_allowed("boolean"),
        Value::Number(number) => is_allowed("number") || (is_allowed("integer") && !number.is_f64()),
        Value::Array(_) => is_allowed("array"),
        Value::Object(_) => is_allowed("object"),
        Value::String(_) => false,
    };
    if fits { json } else { as_text() }
}

/// Types that a schema names, itself or in its alternatives.
fn types(schema: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for alternatives in [&schema["anyOf"], &schema["oneOf"]] {
        found.extend(alternatives.as_array().into_iter().flatten().flat_map(types));
    }
    found
}

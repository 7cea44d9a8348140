//! JSON schemas: what is supported, and the sentence for what is not.

use std::collections::HashSet;

use llguidance::api::TopLevelGrammar;
use serde_json::{Map, Value, json};

/// Most JSON values of a schema, and bytes of its texts.
const MAX_VALUES: usize = 10_000;
const MAX_TEXT_BYTES: usize = 256 << 10;
/// Deepest nesting of schemas in schemas.
const MAX_DEPTH: usize = 32;
/// Most members of one `anyOf`, `allOf` or `prefixItems`, and of one `oneOf`, of which every two must be told apart.
const MAX_BRANCHES: usize = 128;
const MAX_ONE_OF: usize = 64;
/// Most properties of one object.
const MAX_PROPERTIES: usize = 300;
/// Most values of one `enum`.
const MAX_ENUM: usize = 2_000;
/// Longest `pattern`, in bytes.
const MAX_PATTERN_BYTES: usize = 1_000;
/// Largest bounds of a text's length and of the number of items or properties.
const MAX_LENGTH: u64 = 10_000;
const MAX_ITEMS: u64 = 1_000;
/// Largest bound of a number: up to here, all whole numbers can be told apart.
const MAX_NUMBER: f64 = 1e15;
/// White space between the parts of a JSON text, at most. Models that are not sure what to write next may write white
/// space for ever.
const WHITE_SPACE: &str = r" |\r?\n( {0,24}|\t{0,12})";
/// Escapes in strings. Each character has one form, so that two names are the same only if their texts are.
const ESCAPES: &str = "nrbtf\\\"";

/// Keywords that are acted on.
const SUPPORTED: [&str; 27] = [
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
];
/// Keywords that would forbid answers, and are not acted on.
const REFUSED: [&str; 17] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    // An extension of the library, which would switch off what is decided here.
    "x-guidance",
];
/// Where definitions stand. They are schemas that only `$ref`s use.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The grammar of a schema's JSON texts.
///
/// # Errors
/// What is not supported, and where.
pub(super) fn grammar(schema: &Value) -> Result<TopLevelGrammar, String> {
    Ok(TopLevelGrammar::from_json_schema(with_options(checked(schema, "")?)))
}

/// The schema with the settings of every JSON text.
pub(super) fn with_options(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(members) => members,
        // `true`: an object with no keyword means the same.
        _ => Map::new(),
    };
    let options = json!({"whitespace_pattern": WHITE_SPACE, "json_allowed_escapes": ESCAPES});
    schema.insert("x-guidance".to_owned(), options);
    Value::Object(schema)
}

/// A copy of a schema that is fit to be compiled. It will stand at the pointer `at` of another document, so its
/// references get that before them.
///
/// # Errors
/// What is not supported, and where.
pub(super) fn checked(schema: &Value, at: &str) -> Result<Value, String> {
    let mut check = Check { base: at, values: 0, text_bytes: 0, places: HashSet::new(), refs: vec![] };
    check.size(schema)?;
    if *schema == Value::Bool(false) {
        return Err("has the schema false, which nothing validates against".to_owned());
    }
    let copy = check.schema(schema, "", 0)?;
    for (place, reference) in &check.refs {
        if !check.places.contains(reference.trim_start_matches('#').trim_end_matches('/')) {
            return Err(error(place, "$ref", "must lead to a schema of this document, as #/$defs/NAME does"));
        }
    }
    Ok(copy)
}

struct Check<'a> {
    base: &'a str,
    values: usize,
    text_bytes: usize,
    /// Pointers of all schemas, but for those with a slash in a name, which references cannot reach.
    places: HashSet<String>,
    /// Where references stand, and where they lead.
    refs: Vec<(String, String)>,
}

/// `at /properties/a: KEYWORD MESSAGE`.
fn error(place: &str, keyword: &str, message: &str) -> String {
    let place: String = place.chars().take(200).collect();
    match place.is_empty() {
        true => format!("is not supported: {keyword} {message}"),
        false => format!("is not supported: at {place}, {keyword} {message}"),
    }
}

impl Check<'_> {
    /// Counts all values, also those that are no schemas.
    fn size(&mut self, value: &Value) -> Result<(), String> {
        self.values += 1;
        match value {
            Value::String(text) => self.text_bytes += text.len(),
            Value::Array(items) => items.iter().try_for_each(|item| self.size(item))?,
            Value::Object(members) => members.iter().try_for_each(|(name, member)| {
                self.text_bytes += name.len();
                self.size(member)
            })?,
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if self.values > MAX_VALUES || self.text_bytes > MAX_TEXT_BYTES {
            return Err(format!(
                "is too large: a schema may have {MAX_VALUES} values and {MAX_TEXT_BYTES} bytes of text"
            ));
        }
        Ok(())
    }

    fn schema(&mut self, schema: &Value, place: &str, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(error(place, "a schema", &format!("is nested more than {MAX_DEPTH} deep")));
        }
        self.places.insert(place.to_owned());
        let members = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(members) => members,
            _ => return Err(error(place, "a schema", "must be an object, true or false")),
        };
        let mut copy = Map::new();
        for (keyword, value) in members {
            if REFUSED.contains(&keyword.as_str()) {
                // This value says that nothing is forbidden.
                if *keyword == "uniqueItems" && *value == Value::Bool(false) {
                    continue;
                }
                return Err(error(place, &format!("the keyword {keyword:?}"), "is not supported"));
            }
            if DEFINITIONS.contains(&keyword.as_str()) || SUPPORTED.contains(&keyword.as_str()) {
                copy.insert(keyword.clone(), self.keyword(keyword, value, place, depth)?);
            }
        }
        counts_of_properties(members, place)?;
        Ok(Value::Object(copy))
    }

    fn keyword(&mut self, keyword: &str, value: &Value, place: &str, depth: usize) -> Result<Value, String> {
        let at = format!("{place}/{keyword}");
        let wrong = |message: &str| Err(error(place, keyword, message));
        match (keyword, value) {
            ("$ref", Value::String(target)) => {
                if *target != "#" && !target.starts_with("#/") {
                    return wrong("must lead to a schema of this document, as #/$defs/NAME does");
                }
                self.refs.push((place.to_owned(), target.clone()));
                let rest = target.trim_start_matches('#').trim_end_matches('/');
                Ok(Value::String(format!("#{}{rest}", self.base)))
            }
            ("$ref" | "pattern" | "format", value) if !value.is_string() => wrong("must be a string"),
            ("pattern", Value::String(pattern)) if pattern.len() > MAX_PATTERN_BYTES => {
                wrong(&format!("may have at most {MAX_PATTERN_BYTES} bytes"))
            }
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(schemas)) => {
                if keyword.ends_with("roperties") && schemas.len() > MAX_PROPERTIES {
                    return wrong(&format!("may have at most {MAX_PROPERTIES} names"));
                }
                let mut copy = Map::new();
                for (name, schema) in schemas {
                    if keyword == "patternProperties" && name.len() > MAX_PATTERN_BYTES {
                        return wrong(&format!("may have names of at most {MAX_PATTERN_BYTES} bytes"));
                    }
                    copy.insert(name.clone(), self.schema(schema, &below(&at, name), depth + 1)?);
                }
                Ok(Value::Object(copy))
            }
            ("properties" | "patternProperties" | "$defs" | "definitions", _) => wrong("must be an object"),
            ("items" | "anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                let most = if keyword == "oneOf" { MAX_ONE_OF } else { MAX_BRANCHES };
                if schemas.len() > most {
                    return wrong(&format!("may have at most {most} schemas"));
                }
                let below = |index: usize| below(&at, &index.to_string());
                let copies: Result<Vec<Value>, String> = schemas
                    .iter()
                    .enumerate()
                    .map(|(index, schema)| self.schema(schema, &below(index), depth + 1))
                    .collect();
                copies.map(Value::Array)
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", _) => wrong("must be a list"),
            ("items" | "additionalItems" | "additionalProperties", schema) => {
                self.schema(schema, &at, depth + 1)
            }
            ("enum", Value::Array(values)) if values.is_empty() => wrong("must not be empty"),
            ("enum", Value::Array(values)) if values.len() > MAX_ENUM => {
                wrong(&format!("may have at most {MAX_ENUM} values"))
            }
            ("enum" | "const", value) => {
                if !numbers_are_small(value) {
                    return wrong(&format!("may have numbers up to {MAX_NUMBER:e}"));
                }
                Ok(value.clone())
            }
            ("minLength" | "maxLength", value) => bound(value, MAX_LENGTH).or_else(|m| wrong(&m)),
            ("minItems" | "maxItems" | "minProperties" | "maxProperties", value) => {
                bound(value, MAX_ITEMS).or_else(|m| wrong(&m))
            }
            ("multipleOf", value) if value.as_f64().is_none_or(|step| step <= 0.0) => {
                wrong("must be a number above 0")
            }
            ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf", value)
                if !numbers_are_small(value) =>
            {
                wrong(&format!("may be up to {MAX_NUMBER:e}"))
            }
            _ => Ok(value.clone()),
        }
    }
}

/// A name may be written twice in a JSON object, and counts once; the grammar counts it twice. Where all names are
/// known, none is written twice.
fn counts_of_properties(members: &Map<String, Value>, place: &str) -> Result<(), String> {
    let Some(least) = members.get("minProperties").and_then(Value::as_u64) else { return Ok(()) };
    let required = members.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let is_closed = members.get("additionalProperties") == Some(&Value::Bool(false))
        && !members.contains_key("patternProperties");
    if least > required && !is_closed {
        return Err(error(place, "minProperties", "needs additionalProperties to be false"));
    }
    Ok(())
}

fn below(place: &str, name: &str) -> String {
    // With a slash in it, no reference reaches it.
    if name.contains('/') { format!("{place}/{name:?}") } else { format!("{place}/{name}") }
}

fn bound(value: &Value, most: u64) -> Result<Value, String> {
    match value.as_u64() {
        Some(bound) if bound <= most => Ok(value.clone()),
        Some(_) => Err(format!("may be at most {most}")),
        None => Err("must be a whole number from 0".to_owned()),
    }
}

fn numbers_are_small(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() <= MAX_NUMBER),
        Value::Array(items) => items.iter().all(numbers_are_small),
        Value::Object(members) => members.values().all(numbers_are_small),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

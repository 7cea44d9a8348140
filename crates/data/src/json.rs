//! JSON of a row: borrowed where it can be, in the order in which it was written, with what parsers usually hide.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use crate::finding::{Code, Finding};
use literals::Literals;

mod literals;

/// Most values of a row, members and elements counted: what a row takes in memory is bounded by it.
pub const MAX_VALUES: usize = 200_000;
/// Faults of one row that are told; the rest of them follow from these, or are of the same kind.
pub const MAX_ROW_FINDINGS: usize = 20;
/// Longest pointer that is told, but for its last step; of a longer one it is the beginning.
const MAX_POINTER_BYTES: usize = 512;
/// Says to the parser's caller that the limit was met; never shown.
const TOO_MANY_VALUES: &str = "too many values";
/// From here on, whole numbers are too large for 64 bits with a sign, and parsers give them as floats.
const LARGE: f64 = 9_223_372_036_854_775_808.0;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(Cow<'a, str>),
    /// A list.
    Array(Vec<Json<'a>>),
    /// Members in their order. No key is there twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// The member of this name, if it is an object that has one.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// As [`Json::get`], but for a null, which programs write for what is not there.
    pub fn given(&self, name: &str) -> Option<&Json<'a>> {
        self.get(name).filter(|value| !matches!(value, Json::Null))
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// What it is, for a sentence.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        }
    }

    /// Whether it says "nothing": null, or an empty list, object or text.
    pub fn says_nothing(&self) -> bool {
        match self {
            Json::Null => true,
            Json::Bool(_) | Json::Number(_) => false,
            Json::String(text) => text.is_empty(),
            Json::Array(items) => items.is_empty(),
            Json::Object(members) => members.is_empty(),
        }
    }

    /// The same value, owned.
    pub fn to_value(&self) -> Value {
        match self {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => Value::Number(number.clone()),
            Json::String(text) => Value::String(text.to_string()),
            Json::Array(items) => Value::Array(items.iter().map(Json::to_value).collect()),
            Json::Object(members) => Value::Object(object(members)),
        }
    }
}

/// Members as an owned object.
pub fn object(members: &[(Cow<'_, str>, Json<'_>)]) -> Map<String, Value> {
    members.iter().map(|(key, value)| (key.to_string(), value.to_value())).collect()
}

/// Where a value stands in its row.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// The row.
    pub(crate) const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    /// A member of this value.
    pub(crate) fn key(&'a self, key: &'a str) -> Place<'a> {
        Place { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of this value.
    pub(crate) fn index(&'a self, index: usize) -> Place<'a> {
        Place { parent: Some(self), step: Step::Index(index) }
    }

    /// The JSON pointer.
    pub(crate) fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.write(&mut pointer);
        pointer
    }

    fn write(&self, pointer: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(pointer);
        }
        if pointer.len() > MAX_POINTER_BYTES {
            return;
        }
        match self.step {
            Step::Root => {}
            Step::Key(key) => {
                pointer.push('/');
                pointer.push_str(shown_key(key));
            }
            Step::Index(index) => write!(pointer, "/{index}").expect("a string takes all text"),
        }
    }
}

/// Keys are names that programs chose; what does not look like one could be content, or do something to a terminal.
fn shown_key(key: &str) -> &str {
    const MAX_KEY_BYTES: usize = 64;
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$');
    let is_name = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(is_of_names);
    if is_name { key } else { "(key)" }
}

/// Parses the text of one row. Syntax errors end it; what is wrong beside them is all told.
pub fn parse(line: u64, text: &str) -> Result<Json<'_>, Vec<Finding>> {
    let literals = Literals::new(text);
    let context = RefCell::new(Context { line, values: 0, numbers: 0, literals, findings: Vec::new() });
    let mut parser = serde_json::Deserializer::from_str(text);
    let seed = Seed { context: &context, place: Place::ROOT };
    let parsed = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    let mut findings = context.into_inner().findings;
    match parsed {
        Ok(value) if findings.is_empty() => Ok(value),
        Ok(_) => Err(findings),
        Err(error) => {
            findings.push(syntax(line, text, &error));
            Err(findings)
        }
    }
}

/// What the parser says, without its own position (it only sees one line) and without the row's text, which syntax
/// errors never quote.
fn syntax(line: u64, text: &str, error: &serde_json::Error) -> Finding {
    let said = error.to_string();
    let reason = said.rsplit_once(" at line ").map_or(said.as_str(), |(reason, _)| reason);
    let column = error.column();
    if reason == TOO_MANY_VALUES {
        let message = format!("the row has more than {MAX_VALUES} values");
        return Finding::new(line, "", Code::TooManyValues, message, "divide it into several rows");
    }
    if reason == "recursion limit exceeded" {
        let message = format!("lists and objects are nested too deeply at column {column}");
        return Finding::new(line, "", Code::NestedTooDeeply, message, "keep to fewer than 128 levels");
    }
    let (reason, fix) = match (error.classify(), reason) {
        (Category::Eof, _) => ("the line ends too early", "write the whole JSON object on one line"),
        (_, "trailing characters") if text.trim_ascii().contains('\r') => (
            "lines end with carriage returns alone, as on old Macs",
            "end lines with line feeds, as tr '\\r' '\\n' writes them",
        ),
        (_, "number out of range") => (reason, "write it as a text"),
        (_, "trailing characters") => (reason, "write one JSON object a line and nothing behind it"),
        (_, "trailing comma") => (reason, "remove the comma before the closing bracket"),
        (_, "key must be a string") => (reason, "put keys in double quotes"),
        (_, "expected value") => {
            (reason, "write JSON: texts in double quotes, true, false, null, and finite numbers")
        }
        (_, reason) if reason.contains("surrogate") || reason == "unexpected end of hex escape" => (
            "a \\u escape is half of a surrogate pair",
            "write the character itself, or both halves; such halves come from texts that were cut",
        ),
        (_, reason) if reason.contains("control character") => {
            ("a text holds a control character", "escape it, a line break as \\n")
        }
        (_, reason) => (reason, "write the row with a JSON library"),
    };
    let message = format!("invalid JSON at column {column}: {reason}");
    Finding::new(line, "", Code::InvalidJson, message, fix)
}

struct Context<'a> {
    line: u64,
    values: usize,
    /// How many numbers were given so far.
    numbers: usize,
    literals: Literals<'a>,
    findings: Vec<Finding>,
}

impl Context<'_> {
    fn push(&mut self, place: &Place<'_>, code: Code, message: &str, fix: &str) {
        if self.findings.len() < MAX_ROW_FINDINGS {
            self.findings.push(Finding::new(self.line, place.pointer(), code, message, fix));
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'c, 'p, 't> {
    context: &'c RefCell<Context<'t>>,
    place: Place<'p>,
}

impl Seed<'_, '_, '_> {
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        let mut context = self.context.borrow_mut();
        context.values += 1;
        if context.values > MAX_VALUES { Err(E::custom(TOO_MANY_VALUES)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_, '_> {
    type Value = Json<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_, '_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        self.context.borrow_mut().numbers += 1;
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        self.context.borrow_mut().numbers += 1;
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Json<'de>, E> {
        let mut context = self.context.borrow_mut();
        let before = context.numbers;
        context.numbers += 1;
        if number.abs() >= LARGE && context.literals.is_whole(before) {
            let what = "the whole number has more digits than 64 bits hold";
            context.push(&self.place, Code::NumberOutOfRange, what, "write it as a text");
        }
        Number::from_f64(number).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        let context = self.context;
        loop {
            let seed = Seed { context, place: self.place.index(items.len()) };
            match list.next_element_seed(seed)? {
                Some(item) => items.push(item),
                None => return Ok(Json::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        /// From so many members on, keys are looked up in a set.
        const MANY: usize = 16;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        let mut keys: std::collections::HashSet<Cow<'de, str>> = Default::default();
        while let Some(key) = map.next_key_seed(Key)? {
            let is_there = if members.len() < MANY {
                members.iter().any(|(other, _)| *other == key)
            } else {
                if keys.is_empty() {
                    keys.extend(members.iter().map(|(other, _)| other.clone()));
                }
                !keys.insert(key.clone())
            };
            let place = self.place.key(&key);
            if is_there {
                self.context.borrow_mut().push(
                    &place,
                    Code::DuplicateKey,
                    "the key is there twice in its object",
                    "keep one of them: programs differ in which one they take",
                );
            }
            let value = map.next_value_seed(Seed { context: self.context, place })?;
            members.push((key, value));
        }
        Ok(Json::Object(members))
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;

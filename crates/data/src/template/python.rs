//! What templates expect of Python where the engine differs: white space, methods of texts, tests, and how values print.

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State};

use super::json;

/// Deepest nesting of a list or object that is printed.
const MAX_DEPTH: usize = 100;
/// Widest indentation, in spaces.
const MAX_INDENT: usize = 1_000;

/// Teaches the engine.
pub(super) fn extend(environment: &mut Environment<'static>) {
    environment.set_formatter(print);
    environment.set_unknown_method_callback(method);
    environment.add_filter("trim", trim);
    environment.add_filter("string", string);
    environment.add_filter("indent", indent);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment
        .add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
}

/// White space by `str.isspace`: Unicode's, and four separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A text and `None` are no lists here: Python goes over the one and not over the other.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// What has a length and can be indexed.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Seq | Map | String | Undefined)
}

/// Lines by `str.splitlines`, without what ends them.
fn lines(text: &str) -> Vec<&str> {
    let ends = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(end) = rest.find(ends) {
        lines.push(&rest[..end]);
        let after = &rest[end..];
        let length =
            if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        rest = &after[length..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The filter `indent`: spaces, or a text, before each line but the first and empty ones.
fn indent(
    value: &Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?).unwrap_or(Value::from(4));
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let before = match width.as_str() {
        Some(text) => text.to_owned(),
        None => match width.as_usize() {
            Some(width @ ..=MAX_INDENT) => " ".repeat(width),
            _ => {
                let message = format!("indent: the width is no number up to {MAX_INDENT}");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        },
    };
    let text = printed(value)? + "\n";
    let mut out = if first { before.clone() } else { String::new() };
    for (index, line) in lines(&text).into_iter().enumerate() {
        out.push_str(if index > 0 { "\n" } else { "" });
        out.push_str(if index > 0 && (blank || !line.is_empty()) { &before } else { "" });
        out.push_str(line);
    }
    Ok(out)
}

/// What is not there has no parts.
fn length(value: &Value) -> Result<usize, Error> {
    let what = || format!("a value of type {} has no length", value.kind());
    let length = if value.is_undefined() { Some(0) } else { value.len() };
    length.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, what()))
}

/// The filter `trim`, which prints what is no text.
fn trim(value: &Value, chars: Option<&str>) -> Result<String, Error> {
    Ok(strip(&printed(value)?, chars, true, true).to_owned())
}

fn strip<'a>(text: &'a str, chars: Option<&str>, start: bool, end: bool) -> &'a str {
    let is_stripped = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if start { text.trim_start_matches(is_stripped) } else { text };
    if end { text.trim_end_matches(is_stripped) } else { text }
}

/// Methods that the engine's own set of Python's lacks, or has without Python's white space.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args);
    };
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Ok(Value::from(strip(text, chars, name != "rstrip", name != "lstrip")))
        }
        "split" => {
            let (separator, count, options): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
            let named = |key: &str| if options.has(key) { options.get(key) } else { Ok(None) };
            let separator = match separator {
                None if options.has("sep") => options.get::<Option<&str>>("sep")?,
                given => given,
            };
            let count = count.or(named("maxsplit")?);
            options.assert_all_used()?;
            Ok(split(text, separator, count.and_then(|count| usize::try_from(count).ok()))?.into())
        }
        "splitlines" if args.is_empty() => Ok(lines(text).into_iter().map(Value::from).collect()),
        "isspace" => {
            let () = from_args(args)?;
            Ok(Value::from(!text.is_empty() && text.chars().all(is_space)))
        }
        "removeprefix" | "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            let rest = if name == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
            Ok(Value::from(rest.unwrap_or(text)))
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// `str.split`: at most `count` cuts; without a separator at runs of white space, and no part is empty.
fn split(text: &str, separator: Option<&str>, count: Option<usize>) -> Result<Vec<Value>, Error> {
    let cuts = count.unwrap_or(usize::MAX);
    if let Some(separator) = separator {
        if separator.is_empty() {
            return Err(Error::new(ErrorKind::InvalidOperation, "split: the separator is empty"));
        }
        return Ok(text.splitn(cuts.saturating_add(1), separator).map(Value::from).collect());
    }
    let (mut parts, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
    while !rest.is_empty() {
        let end = if parts.len() < cuts { rest.find(is_space).unwrap_or(rest.len()) } else { rest.len() };
        parts.push(Value::from(&rest[..end]));
        rest = rest[end..].trim_start_matches(is_space);
    }
    Ok(parts)
}

/// Writes what stands between `{{` and `}}`.
fn print(output: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => Ok(output.write_str(&printed(value)?)?),
        _ => minijinja::escape_formatter(output, state, value),
    }
}

fn string(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => Ok(Value::from(printed(value)?)),
    }
}

/// A value by Python's `str`.
fn printed(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let mut out = String::new();
            repr(&mut out, value, 0)?;
            Ok(out)
        }
        _ => Ok(value.to_string()),
    }
}

/// A value by Python's `repr`.
fn repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "the value is nested too deeply to be printed"));
    }
    match value.kind() {
        ValueKind::String => repr_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => out.push_str(&json::float(f64::try_from(value.clone())?)),
        ValueKind::Seq => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(out, &key, depth + 1)?;
                out.push_str(": ");
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// In single quotes, unless only these stand in the text. What no printer shows is escaped.
fn repr_text(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => match u32::from(c) {
                code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
}

/// Whether `repr` leaves a character as it is. `escape_debug` has the same rule but for quotes, and for marks that join
/// the character before them, which it escapes at the beginning of a text.
fn is_printable(c: char) -> bool {
    let text = String::from_iter(['a', c]);
    matches!(c, '"' | '\'') || text.escape_debug().eq(text.chars())
}

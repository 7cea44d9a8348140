//! What commands print: JSON for machines, plain text for people.

use std::io::{self, Write};

use anyhow::Result;
use serde_json::Value;

/// Prints one line. A reader that went away (`| head`) is an error that `main` takes for a normal end.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints a piece of text at once, without a line end.
pub fn piece(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints one JSON document on one line.
pub fn json(value: &Value) -> Result<()> {
    line(&value.to_string())
}

/// Prints a resource: as JSON, or as aligned `field  value` lines without fields that are not set.
pub fn resource(as_json: bool, value: &Value) -> Result<()> {
    if as_json {
        return json(value);
    }
    let rows: Vec<Vec<String>> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !is_empty(value))
        .map(|(key, value)| vec![key.clone(), cell(value)])
        .collect();
    table(&[], &rows)
}

/// Prints what a command did, which left nothing to show: `deleted NAME`.
pub fn outcome(as_json: bool, done: &str, name: &str) -> Result<()> {
    if as_json {
        return json(&Value::Object([(done.to_owned(), Value::from(name))].into_iter().collect()));
    }
    line(&format!("{done} {name}"))
}

/// Prints resources: as a JSON array, or as a table of the given fields (JSON pointers without the slash).
pub fn list(as_json: bool, items: &[Value], fields: &[(&str, &str)]) -> Result<()> {
    if as_json {
        return json(&Value::Array(items.to_vec()));
    }
    let headings: Vec<&str> = fields.iter().map(|(heading, _)| *heading).collect();
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            fields
                .iter()
                .map(|(_, pointer)| item.pointer(&format!("/{pointer}")).map(cell).unwrap_or_default())
                .collect()
        })
        .collect();
    table(&headings, &rows)
}

/// Prints columns, each as wide as its widest cell.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let heading_row: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    let all: Vec<&Vec<String>> =
        (!heading_row.is_empty()).then_some(&heading_row).into_iter().chain(rows).collect();
    let columns = all.iter().map(|row| row.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            all.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in all {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(text, &width)| format!("{text:<width$}")).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0" || text.ends_with("_UNSPECIFIED"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => one_line(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The text without line breaks.
pub fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether the error is that nobody reads our output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

//! Rows of batch inference: `{"custom_id": ..., "body": {"messages": [...], ...}}`, a chat request each.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use hearth_data::RowError;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::findings::Findings;
use super::lines::Line;
use super::rules::{check_unanswered, each_line, value_of};
use crate::error::ServerError;

/// Longest `custom_id`, in characters.
const CUSTOM_ID_MAX_CHARS: usize = 512;
/// Keys of a row.
const ROW_KEYS: [&str; 2] = ["custom_id", "body"];

/// Reads all rows. Ids have to differ over all files; if `strict`, each conversation ends with something to answer.
pub(super) fn read(
    files: &[(String, PathBuf)],
    strict: bool,
    stop: &AtomicBool,
    findings: &mut Findings,
) -> Result<(), ServerError> {
    let mut ids: HashSet<[u8; 16]> = HashSet::new();
    each_line(files, stop, |file, line| {
        findings.rows += 1;
        if let Err(error) = check(line, strict, &mut ids) {
            findings.push_row(file, &error);
        }
    })
}

fn check(line: &Line<'_>, strict: bool, ids: &mut HashSet<[u8; 16]>) -> Result<(), RowError> {
    let error = |pointer: &str, message: &str| RowError {
        line: line.number,
        pointer: pointer.to_owned(),
        message: message.to_owned(),
    };
    let value = value_of(line)?;
    let Value::Object(row) = &value else { return Err(error("", "a row must be a JSON object")) };
    if row.keys().any(|key| !ROW_KEYS.contains(&key.as_str())) {
        return Err(error("", "a request row has custom_id and body, and nothing else"));
    }
    let id = custom_id(row).map_err(|what| error("/custom_id", what))?;
    if !ids.insert(digest(id)) {
        return Err(error("/custom_id", "another row has this custom_id; give each its own"));
    }
    let body = match row.get("body") {
        Some(Value::Object(body)) => body,
        Some(_) => return Err(error("/body", "body must be an object")),
        None => return Err(error("", "a request row needs the field body")),
    };
    let messages = body.get("messages").ok_or_else(|| error("/body", "body needs the field messages"))?;
    check_unanswered(line.number, messages)
        .map_err(|found| RowError { pointer: format!("/body{}", found.pointer), ..found })?;
    let last = messages.as_array().and_then(|list| list.last()).and_then(|last| last.get("role"));
    if strict && last.and_then(Value::as_str) == Some("assistant") {
        return Err(error("/body/messages", "the last message is an answer already; end with a question"));
    }
    Ok(())
}

/// What tells the answers apart.
fn custom_id(row: &Map<String, Value>) -> Result<&str, &'static str> {
    match row.get("custom_id") {
        None | Some(Value::Null) => Err("a request row needs the field custom_id"),
        Some(Value::String(id)) if id.is_empty() => Err("custom_id is empty"),
        Some(Value::String(id)) if id.chars().count() > CUSTOM_ID_MAX_CHARS => Err("custom_id is too long"),
        Some(Value::String(id)) => Ok(id),
        Some(_) => Err("custom_id must be a string"),
    }
}

/// Enough of a digest to tell millions of ids apart in little memory.
fn digest(id: &str) -> [u8; 16] {
    Sha256::digest(id)[..16].try_into().expect("a digest has 32 bytes")
}

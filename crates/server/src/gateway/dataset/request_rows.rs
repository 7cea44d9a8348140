//! Rows of batch inference: `{"custom_id": ..., "body": {"messages": [...], ...}}`, a chat request each.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hearth_data::json::{self, Json};
use hearth_data::request::Request;
use hearth_data::{BadRow, Code, Finding};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::findings::Findings;
use super::lines::Line;
use super::rules::{bytes_of, each_row};
use crate::error::ServerError;
use crate::openai;

/// What rows that are trained on have at least one of.
const TRAINED_ON: [&str; 4] = ["messages", "conversations", "prompt", "text"];

/// Reads all rows. Ids have to differ over all files; if `strict`, each conversation ends with something to answer.
pub(super) fn read(
    files: &[(String, PathBuf)],
    strict: bool,
    limit: u64,
    stop: &Arc<AtomicBool>,
    findings: &mut Findings,
) -> Result<(), ServerError> {
    let mut ids: HashSet<[u8; 16]> = HashSet::new();
    each_row(files, limit, stop, findings, |line| check(line, strict, &mut ids))
}

/// Whether a row is a request, if it is anything. Rows that are trained on may have further keys, also these two.
pub(super) fn is_request(line: &Line<'_>) -> bool {
    let Ok(text) = std::str::from_utf8(line.bytes) else { return false };
    let Ok(value) = json::parse(line.number, text) else { return false };
    let (id, body) = (value.get("custom_id"), value.get("body"));
    let is_trained_on = TRAINED_ON.iter().any(|key| value.get(key).is_some());
    match is_trained_on {
        true => id.is_some() && matches!(body, Some(Json::Object(_))),
        false => id.is_some() || matches!(body, Some(Json::Object(_))),
    }
}

fn check(line: &Line<'_>, strict: bool, ids: &mut HashSet<[u8; 16]>) -> Result<(), BadRow> {
    let error = |pointer: &str, code: Code, message: &str, fix: &str| {
        BadRow::from(Finding::new(line.number, pointer, code, message, fix))
    };
    let Request { custom_id, body } = Request::from_bytes(line.number, bytes_of(line)?)?;
    let last = body.get("messages").and_then(Value::as_array).and_then(|list| list.last());
    if strict && last.and_then(|last| last.get("role")).and_then(Value::as_str) == Some("assistant") {
        let message = "the last message is an answer already";
        return Err(error("/body/messages", Code::ConflictingFields, message, "end with a question"));
    }
    // By the rules of a chat: what is refused there would be refused for each row.
    openai::check_chat(body)
        .map_err(|found| error("/body", Code::UnsupportedField, &found.message, "correct the request"))?;
    if !ids.insert(digest(&custom_id)) {
        let fix = "give each its own";
        return Err(error("/custom_id", Code::DuplicateRow, "another row has this custom_id", fix));
    }
    Ok(())
}

/// Enough of a digest to tell millions of ids apart in little memory.
fn digest(id: &str) -> [u8; 16] {
    Sha256::digest(id)[..16].try_into().expect("a digest has 32 bytes")
}

//! Rows of batch inference: `{"custom_id": ..., "body": {"messages": [...], ...}}`, a chat request each.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hearth_data::request::Request;
use hearth_data::{BadRow, Code, Finding, json};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::findings::Findings;
use super::lines::Line;
use super::rules::{bytes_of, each_line};
use crate::error::ServerError;
use crate::openai;

/// Reads all rows. Ids have to differ over all files; if `strict`, each conversation ends with something to answer.
pub(super) fn read(
    files: &[(String, PathBuf)],
    strict: bool,
    stop: &Arc<AtomicBool>,
    findings: &mut Findings,
) -> Result<(), ServerError> {
    let mut ids: HashSet<[u8; 16]> = HashSet::new();
    each_line(files, stop, |file, line| {
        findings.rows += 1;
        if let Err(bad) = check(line, strict, &mut ids) {
            findings.push_row(file, &bad);
        }
    })
}

/// Whether a row is a request, if it is anything.
pub(super) fn is_request(line: &Line<'_>) -> bool {
    std::str::from_utf8(line.bytes)
        .is_ok_and(|text| json::parse(line.number, text).is_ok_and(|value| value.get("body").is_some()))
}

fn check(line: &Line<'_>, strict: bool, ids: &mut HashSet<[u8; 16]>) -> Result<(), BadRow> {
    let error = |pointer: &str, code: Code, message: &str, fix: &str| {
        BadRow::from(Finding::new(line.number, pointer, code, message, fix))
    };
    let Request { custom_id, body } = Request::from_bytes(line.number, bytes_of(line)?)?;
    if !ids.insert(digest(&custom_id)) {
        let fix = "give each its own";
        return Err(error("/custom_id", Code::DuplicateRow, "another row has this custom_id", fix));
    }
    let last = body.get("messages").and_then(Value::as_array).and_then(|list| list.last());
    if strict && last.and_then(|last| last.get("role")).and_then(Value::as_str) == Some("assistant") {
        let message = "the last message is an answer already";
        return Err(error("/body/messages", Code::ConflictingFields, message, "end with a question"));
    }
    // By the rules of a chat: what is refused there would be refused for each row.
    openai::check_chat(body)
        .map_err(|found| error("/body", Code::UnsupportedField, &found.message, "correct the request"))
}

/// Enough of a digest to tell millions of ids apart in little memory.
fn digest(id: &str) -> [u8; 16] {
    Sha256::digest(id)[..16].try_into().expect("a digest has 32 bytes")
}

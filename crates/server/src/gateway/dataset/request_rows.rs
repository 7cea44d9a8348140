//! Rows of batch inference: `{"custom_id": ..., "body": {"messages": [...], ...}}`, a chat request each.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use hearth_data::RowError;
use hearth_data::request::Request;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::findings::Findings;
use super::lines::Line;
use super::rules::{each_line, value_of};
use crate::error::ServerError;
use crate::openai;

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

/// Whether a row is a request, if it is anything.
pub(super) fn is_request(line: &Line<'_>) -> bool {
    value_of(line).is_ok_and(|value| value.get("body").is_some())
}

fn check(line: &Line<'_>, strict: bool, ids: &mut HashSet<[u8; 16]>) -> Result<(), RowError> {
    let error =
        |pointer: &str, message: String| RowError { line: line.number, pointer: pointer.to_owned(), message };
    let Request { custom_id, body } = Request::from_value(line.number, value_of(line)?)?;
    if !ids.insert(digest(&custom_id)) {
        return Err(error("/custom_id", "another row has this custom_id; give each its own".to_owned()));
    }
    let last = body.get("messages").and_then(Value::as_array).and_then(|list| list.last());
    if strict && last.and_then(|last| last.get("role")).and_then(Value::as_str) == Some("assistant") {
        let message = "the last message is an answer already; end with a question";
        return Err(error("/body/messages", message.to_owned()));
    }
    // By the rules of a chat: what is refused there would be refused for each row.
    openai::check_chat(body).map_err(|found| error("/body", found.message))
}

/// Enough of a digest to tell millions of ids apart in little memory.
fn digest(id: &str) -> [u8; 16] {
    Sha256::digest(id)[..16].try_into().expect("a digest has 32 bytes")
}

//! `ListSupervisedFineTuningJobEvents`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_proto::gateway as pb;
use hearth_store::JobEventQuery;

use super::event::event_to_pb;
use crate::error::ServerError;
use crate::gateway::{Call, names, total_size};
use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// Lists the events of a job, the oldest first unless asked otherwise.
pub(in crate::gateway) async fn job_event_list(
    call: &Call,
    request: pb::ListSupervisedFineTuningJobEventsRequest,
) -> Result<pb::ListSupervisedFineTuningJobEventsResponse, ServerError> {
    let (account, id) = names::job("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let size = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size if size < 0 => return Err(ServerError::field("pageSize", format!("{size} is below 0"))),
        size => size.min(PAGE_SIZE_MAX),
    };
    let is_newest_first = newest_first(&request.order_by)?;
    let store = call.state.store();
    let stored = store.job_get(&account, &id).await?;
    let after = read_token(&request.page_token, stored.key, is_newest_first)?;
    // One more than is shown tells whether there is another page.
    let query = JobEventQuery { after, is_newest_first, most: size.unsigned_abs() + 1 };
    let mut rows = store.job_event_page(stored.key, &query).await?;
    let has_more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next = rows.last().filter(|_| has_more);
    let next_page_token = next.map(|last| write_token(last.number, stored.key, is_newest_first));
    Ok(pb::ListSupervisedFineTuningJobEventsResponse {
        events: rows.iter().map(|row| event_to_pb(row, call.face)).collect(),
        next_page_token: next_page_token.unwrap_or_default(),
        total_size: total_size(store.job_event_count(stored.key).await?),
    })
}

fn newest_first(order_by: &str) -> Result<bool, ServerError> {
    let words: Vec<&str> = order_by.split_whitespace().collect();
    match words[..] {
        [] | ["sequence_number" | "sequenceNumber"] | ["sequence_number" | "sequenceNumber", "asc"] => {
            Ok(false)
        }
        ["sequence_number" | "sequenceNumber", "desc"] => Ok(true),
        _ => Err(ServerError::field(
            "orderBy",
            "events are listed by sequence_number or by sequence_number desc",
        )),
    }
}

fn write_token(number: u64, job: i64, is_newest_first: bool) -> String {
    URL_SAFE_NO_PAD.encode(format!("{job}/{}/{number}", u8::from(is_newest_first)))
}

/// A token belongs to its job and its order.
fn read_token(token: &str, job: i64, is_newest_first: bool) -> Result<Option<u64>, ServerError> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        text.strip_prefix(&format!("{job}/{}/", u8::from(is_newest_first)))?.parse().ok()
    };
    let wrong = || ServerError::field("pageToken", "is not one of this list; leave it out to begin again");
    read().map(Some).ok_or_else(wrong)
}

//! `ListSupervisedFineTuningJobEvents`.

use hearth_proto::gateway as pb;
use hearth_store::JobEventQuery;

use super::event::event_to_pb;
use super::page::{Place, page_size, wrong_token};
use crate::error::ServerError;
use crate::gateway::{Call, names, total_size};

/// Lists the events of a job, the oldest first unless asked otherwise.
pub(in crate::gateway) async fn job_event_list(
    call: &Call,
    request: pb::ListSupervisedFineTuningJobEventsRequest,
) -> Result<pb::ListSupervisedFineTuningJobEventsResponse, ServerError> {
    let (account, id) = names::job("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let size = page_size(request.page_size)?;
    let is_newest_first = newest_first(&request.order_by)?;
    let store = call.state.store();
    let stored = store.job_get(&account, &id).await?;
    let after = Place::of_token(&request.page_token, stored.key)?;
    // A token belongs to its order, too.
    if after.is_some_and(|after| after.choice != is_newest_first) {
        return Err(wrong_token());
    }
    // One more than is shown tells whether there is another page.
    let query = JobEventQuery { after: after.map(|after| after.number), is_newest_first, most: size + 1 };
    let mut rows = store.job_event_page(stored.key, &query).await?;
    let has_more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next = rows.last().filter(|_| has_more);
    let next_page_token =
        next.map(|last| Place { choice: is_newest_first, number: last.number }.token(stored.key));
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

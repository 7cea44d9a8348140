//! `PreviewDataset`.

use hearth_domain::{Dataset, DatasetRef, DatasetState};
use hearth_proto::gateway as pb;

use super::lines::{Line, Lines, Pages, page_size, wrong_token};
use super::{check, fields};
use crate::error::ServerError;
use crate::gateway::{Call, names, total_size};
use crate::limits::{PREVIEW_PAGE_MAX_BYTES, PREVIEW_ROWS_DEFAULT, PREVIEW_ROWS_MAX};
use crate::state::AppState;

/// Shows rows as they stand in the files, in reading order. A page ends early when it has enough bytes.
pub(in crate::gateway) async fn dataset_preview(
    call: &Call,
    request: pb::PreviewDatasetRequest,
) -> Result<pb::PreviewDatasetResponse, ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_read(&name.account)?;
    for (field, text) in [("filter", &request.filter), ("orderBy", &request.order_by)] {
        if !text.is_empty() {
            return Err(ServerError::Unimplemented(format!(
                "{field}: rows are shown in the order of the files, all of them; leave it out"
            )));
        }
    }
    let rows = page_size(request.page_size, PREVIEW_ROWS_DEFAULT, PREVIEW_ROWS_MAX)?;
    let dataset = ready(&call.state, &name).await?;
    let pages = Pages::new(&dataset, "preview");
    let place = pages.read(&request.page_token)?;
    let files = check::uploaded_files(&call.state, &dataset)?;
    let total_count = total_size(dataset.example_count);
    let reading = tokio::task::spawn_blocking(move || {
        let files = files.into_iter().map(|(_, path)| path).collect();
        let mut lines = Lines::open(files, place).map_err(read_error)?.ok_or_else(wrong_token)?;
        let mut reply = pb::PreviewDatasetResponse { total_count, ..Default::default() };
        let mut bytes = 0;
        loop {
            let before = lines.place();
            let Some(line) = lines.next().map_err(read_error)? else { return Ok(reply) };
            let example = example(&line)?;
            bytes += example.content.len();
            let is_full = reply.examples.len() == rows || bytes > PREVIEW_PAGE_MAX_BYTES;
            if is_full && !reply.examples.is_empty() {
                reply.next_page_token = pages.write(before);
                return Ok(reply);
            }
            reply.examples.push(example);
        }
    });
    reading.await.map_err(|source| ServerError::internal("reading rows", source))?
}

/// A row that is too long for a page is not cut: it is left out, and says how long it is.
fn example(line: &Line<'_>) -> Result<pb::Example, ServerError> {
    if line.is_too_long {
        return Err(ServerError::internal("reading a checked row", "it is longer than any checked row"));
    }
    let bytes = line.bytes.trim_ascii_end();
    if bytes.len() > PREVIEW_PAGE_MAX_BYTES {
        return Ok(pb::Example { content: String::new(), omitted_bytes: bytes.len() as i64 });
    }
    let text = std::str::from_utf8(bytes);
    let content = text.map_err(|source| ServerError::internal("reading a checked row", source))?.to_owned();
    Ok(pb::Example { content, omitted_bytes: 0 })
}

/// A dataset whose rows are known.
pub(in crate::gateway) async fn ready(state: &AppState, name: &DatasetRef) -> Result<Dataset, ServerError> {
    let dataset = state.store().dataset_get(name).await?;
    if dataset.state != DatasetState::Ready {
        return Err(fields::not_ready(name));
    }
    check::must_be_here(&dataset)?;
    Ok(dataset)
}

/// Files of a dataset that was deleted in this moment are gone.
pub(in crate::gateway) fn read_error(source: std::io::Error) -> ServerError {
    if source.kind() == std::io::ErrorKind::NotFound {
        return ServerError::NotFound("the dataset was deleted meanwhile".to_owned());
    }
    ServerError::internal("reading rows", source)
}

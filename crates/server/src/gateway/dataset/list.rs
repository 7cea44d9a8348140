//! `ListDatasets`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the datasets of an account by name.
pub(in crate::gateway) async fn dataset_list(
    call: &Call,
    request: pb::ListDatasetsRequest,
) -> Result<pb::ListDatasetsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let query = list_query(
        Resource::DATASET,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let page = call.state.store().dataset_list(&account, &query).await?;
    let datasets = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListDatasetsResponse {
        datasets: mask::apply_all("Dataset", datasets, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

//! `ListBatchInferenceJobs`.

use hearth_domain::BatchInferenceJob;
use hearth_proto::gateway as pb;

use super::to_pb;
use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// What lists are sorted by if they do not say.
const DEFAULT_ORDER: &str = "create_time";

/// Lists the batch inference jobs of an account.
pub(in crate::gateway) async fn batch_inference_job_list(
    call: &Call,
    request: pb::ListBatchInferenceJobsRequest,
) -> Result<pb::ListBatchInferenceJobsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let order = if request.order_by.trim().is_empty() { DEFAULT_ORDER } else { &request.order_by };
    let query = list_query(
        Resource::BATCH_INFERENCE_JOB,
        request.page_size,
        request.page_token,
        &request.filter,
        order,
    )?;
    let page = call.state.store().list::<BatchInferenceJob>(&account, &query).await?;
    let jobs = page.items.iter().map(to_pb).collect();
    Ok(pb::ListBatchInferenceJobsResponse {
        batch_inference_jobs: mask::apply_all("BatchInferenceJob", jobs, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

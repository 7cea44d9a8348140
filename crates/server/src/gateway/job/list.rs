//! `ListSupervisedFineTuningJobs`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the jobs of an account.
pub(in crate::gateway) async fn job_list(
    call: &Call,
    request: pb::ListSupervisedFineTuningJobsRequest,
) -> Result<pb::ListSupervisedFineTuningJobsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let query =
        list_query(Resource::JOB, request.page_size, request.page_token, &request.filter, &request.order_by)?;
    let page = call.state.store().job_list(&account, &query).await?;
    let jobs = page.items.iter().map(|job| super::to_pb(call, job)).collect();
    Ok(pb::ListSupervisedFineTuningJobsResponse {
        supervised_fine_tuning_jobs: mask::apply_all(
            "SupervisedFineTuningJob",
            jobs,
            request.read_mask.as_ref(),
        )?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

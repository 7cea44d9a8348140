//! `GetBatchInferenceJob`.

use hearth_domain::BatchInferenceJob;
use hearth_proto::gateway as pb;

use super::to_pb;
use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a job.
pub(in crate::gateway) async fn batch_inference_job_get(
    call: &Call,
    request: pb::GetBatchInferenceJobRequest,
) -> Result<pb::BatchInferenceJob, ServerError> {
    let (account, id) = names::batch_inference_job("name", &request.name)?;
    call.caller.may_read(&account)?;
    let job: BatchInferenceJob = call.state.store().get(&account, id.as_str()).await?;
    mask::apply("BatchInferenceJob", to_pb(&job), request.read_mask.as_ref())
}

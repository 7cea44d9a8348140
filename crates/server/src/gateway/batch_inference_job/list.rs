//! `ListBatchInferenceJobs`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn batch_inference_job_list(
    call: &Call,
    request: pb::ListBatchInferenceJobsRequest,
) -> Result<pb::ListBatchInferenceJobsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("ListBatchInferenceJobs is not supported by this server yet".to_owned()))
}

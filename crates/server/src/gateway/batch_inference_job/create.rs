//! `CreateBatchInferenceJob`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn batch_inference_job_create(
    call: &Call,
    request: pb::CreateBatchInferenceJobRequest,
) -> Result<pb::BatchInferenceJob, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("CreateBatchInferenceJob is not supported by this server yet".to_owned()))
}

//! `DeleteBatchInferenceJob`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn batch_inference_job_delete(
    call: &Call,
    request: pb::DeleteBatchInferenceJobRequest,
) -> Result<(), ServerError> {
    let account = names::batch_inference_job("name", &request.name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("DeleteBatchInferenceJob is not supported by this server yet".to_owned()))
}

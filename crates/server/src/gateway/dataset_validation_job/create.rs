//! `CreateDatasetValidationJob`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn dataset_validation_job_create(
    call: &Call,
    request: pb::CreateDatasetValidationJobRequest,
) -> Result<pb::DatasetValidationJob, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented(
        "CreateDatasetValidationJob is not supported by this server yet".to_owned(),
    ))
}

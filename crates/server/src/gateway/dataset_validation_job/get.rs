//! `GetDatasetValidationJob`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn dataset_validation_job_get(
    call: &Call,
    request: pb::GetDatasetValidationJobRequest,
) -> Result<pb::DatasetValidationJob, ServerError> {
    let account = names::dataset_validation_job("name", &request.name)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("GetDatasetValidationJob is not supported by this server yet".to_owned()))
}

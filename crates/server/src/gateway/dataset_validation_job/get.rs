//! `GetDatasetValidationJob`.

use hearth_domain::DatasetValidationJob;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a check of datasets.
pub(in crate::gateway) async fn dataset_validation_job_get(
    call: &Call,
    request: pb::GetDatasetValidationJobRequest,
) -> Result<pb::DatasetValidationJob, ServerError> {
    let (account, id) = names::dataset_validation_job("name", &request.name)?;
    call.caller.may_read(&account)?;
    let job: DatasetValidationJob = call.state.store().get(&account, id.as_str()).await?;
    mask::apply("DatasetValidationJob", super::to_pb(&job), request.read_mask.as_ref())
}

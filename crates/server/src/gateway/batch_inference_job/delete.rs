//! `DeleteBatchInferenceJob`.

use hearth_domain::BatchInferenceJob;
use hearth_proto::gateway as pb;

use crate::batch;
use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Deletes a job; one that runs stops. An output dataset that is READY stays.
pub(in crate::gateway) async fn batch_inference_job_delete(
    call: &Call,
    request: pb::DeleteBatchInferenceJobRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::batch_inference_job("name", &request.name)?;
    call.caller.may_change(&account)?;
    let store = call.state.store();
    let job: BatchInferenceJob = store.get(&account, id.as_str()).await?;
    store.delete::<BatchInferenceJob>(&account, id.as_str()).await?;
    batch::forget(&call.state, &job).await?;
    if job.state.is_final() {
        // The runner removes the files of one that it has begun, and a start those of the rest.
        batch::JobDir::of(&call.state, &job).remove()?;
    }
    call.state.wake_batch();
    Ok(())
}

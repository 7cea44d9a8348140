//! `DeleteModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Removes a model and its directory, or what was uploaded of it. Models of the catalogue belong to the operator; what
/// a job still needs stays, and so does what is deployed.
pub(in crate::gateway) async fn model_delete(
    call: &Call,
    request: pb::DeleteModelRequest,
) -> Result<(), ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    if let Some(job) = store.job_that_needs(&name).await? {
        return Err(ServerError::FailedPrecondition(format!(
            "model {name} is needed by {job}, which is not at its end; cancel or delete the job first"
        )));
    }
    let _lock = call.state.model_lock(&name).await;
    call.state.deployments().delete_model(&name).await
}

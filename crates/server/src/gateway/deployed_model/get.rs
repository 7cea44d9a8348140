//! `GetDeployedModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, model, names};

/// Reads a deployed model.
pub(in crate::gateway) async fn deployed_model_get(
    call: &Call,
    request: pb::GetDeployedModelRequest,
) -> Result<pb::DeployedModel, ServerError> {
    let name = names::deployed_model("name", &request.name)?;
    call.caller.may_read_models(&name.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let found = store.model_get(&name).await?;
    if model::deployed_refs(store, &found).await?.is_empty() {
        return Err(ServerError::NotFound(format!(
            "{} is not deployed: its base model is not installed",
            request.name
        )));
    }
    mask::apply("DeployedModel", super::to_pb(&found), request.read_mask.as_ref())
}

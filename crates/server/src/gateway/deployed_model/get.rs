//! `GetDeployedModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a deployed model. A model's own id stands for the one that is there by itself.
pub(in crate::gateway) async fn deployed_model_get(
    call: &Call,
    request: pb::GetDeployedModelRequest,
) -> Result<pb::DeployedModel, ServerError> {
    let (account, id) = names::deployed_model("name", &request.name)?;
    call.caller.may_read_models(&account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let found = store.deployed_model_get(&account, id.as_str()).await?;
    mask::apply("DeployedModel", super::to_pb(&found), request.read_mask.as_ref())
}

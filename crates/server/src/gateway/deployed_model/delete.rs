//! `DeleteDeployedModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Unloads an adapter: its memory is free as soon as the requests that it is answering have ended.
pub(in crate::gateway) async fn deployed_model_delete(
    call: &Call,
    request: pb::DeleteDeployedModelRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::deployed_model("name", &request.name)?;
    call.caller.may_change(&account)?;
    match call.state.deployments().delete_deployed(&account, &id).await {
        Ok(()) => Ok(()),
        Err(error) => Err(super::explain(call, (&account, &id), error).await),
    }
}

//! `UpdateDeployedModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployed_model_update(
    call: &Call,
    request: pb::UpdateDeployedModelRequest,
) -> Result<pb::DeployedModel, ServerError> {
    let account =
        names::deployed_model("deployedModel.name", &request.deployed_model.unwrap_or_default().name)?
            .account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UpdateDeployedModel is not supported by this server yet".to_owned()))
}

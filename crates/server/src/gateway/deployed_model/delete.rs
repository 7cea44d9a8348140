//! `DeleteDeployedModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn deployed_model_delete(
    call: &Call,
    request: pb::DeleteDeployedModelRequest,
) -> Result<(), ServerError> {
    let account = names::deployed_model("name", &request.name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("DeleteDeployedModel is not supported by this server yet".to_owned()))
}

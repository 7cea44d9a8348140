//! `UpdateModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn model_update(
    call: &Call,
    request: pb::UpdateModelRequest,
) -> Result<pb::Model, ServerError> {
    let account = names::model("model.name", &request.model.unwrap_or_default().name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UpdateModel is not supported by this server yet".to_owned()))
}

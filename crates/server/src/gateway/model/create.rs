//! `CreateModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn model_create(
    call: &Call,
    request: pb::CreateModelRequest,
) -> Result<pb::Model, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("CreateModel is not supported by this server yet".to_owned()))
}

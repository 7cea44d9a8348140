//! `PrepareModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn model_prepare(
    call: &Call,
    request: pb::PrepareModelRequest,
) -> Result<(), ServerError> {
    let account = names::model("name", &request.name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("PrepareModel is not supported by this server yet".to_owned()))
}

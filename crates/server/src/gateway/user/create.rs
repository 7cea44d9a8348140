//! `CreateUser`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn user_create(
    call: &Call,
    request: pb::CreateUserRequest,
) -> Result<pb::User, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("CreateUser is not supported by this server yet".to_owned()))
}

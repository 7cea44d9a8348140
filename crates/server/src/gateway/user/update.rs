//! `UpdateUser`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn user_update(
    call: &Call,
    request: pb::UpdateUserRequest,
) -> Result<pb::User, ServerError> {
    let account = names::user("user.name", &request.user.unwrap_or_default().name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UpdateUser is not supported by this server yet".to_owned()))
}

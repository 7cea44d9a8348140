//! `GetUser`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn user_get(
    call: &Call,
    request: pb::GetUserRequest,
) -> Result<pb::User, ServerError> {
    let account = names::user("name", &request.name)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("GetUser is not supported by this server yet".to_owned()))
}

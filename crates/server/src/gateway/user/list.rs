//! `ListUsers`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn user_list(
    call: &Call,
    request: pb::ListUsersRequest,
) -> Result<pb::ListUsersResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("ListUsers is not supported by this server yet".to_owned()))
}

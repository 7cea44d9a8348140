//! `DeleteUser`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Deletes a user; their keys open nothing from the next call on. Admins only.
pub(in crate::gateway) async fn user_delete(
    call: &Call,
    request: pb::DeleteUserRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::user("name", &request.name)?;
    call.caller.may_administer(&account)?;
    call.state.store().user_delete(&account, &id).await?;
    Ok(())
}

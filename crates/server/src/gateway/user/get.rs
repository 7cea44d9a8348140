//! `GetUser`.

use hearth_domain::User;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a user: oneself, or as an admin anyone.
pub(in crate::gateway) async fn user_get(
    call: &Call,
    request: pb::GetUserRequest,
) -> Result<pb::User, ServerError> {
    let (account, id) = names::user("name", &request.name)?;
    if !call.caller.is_user(&account, &id) {
        call.caller.may_administer(&account)?;
    }
    let user: User = call.state.store().get(&account, id.as_str()).await?;
    mask::apply("User", super::to_pb(&user), request.read_mask.as_ref())
}

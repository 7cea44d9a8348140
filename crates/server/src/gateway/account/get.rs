//! `GetAccount`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads an account: one's own, or that of the shared models.
pub(in crate::gateway) async fn account_get(
    call: &Call,
    request: pb::GetAccountRequest,
) -> Result<pb::Account, ServerError> {
    let id = names::account("name", &request.name)?;
    call.caller.may_see(&id)?;
    let account = call.state.store().account_get(&id).await?;
    mask::apply("Account", super::to_pb(&account), request.read_mask.as_ref())
}

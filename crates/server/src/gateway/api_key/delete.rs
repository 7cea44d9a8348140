//! `DeleteApiKey`.

use hearth_domain::KeyRights;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Takes a key back: one's own, or as an admin any of the account. It opens nothing from the next call on. The
/// operator's key is taken back by the operator only, and not by itself, so that one is left.
pub(in crate::gateway) async fn api_key_delete(
    call: &Call,
    request: pb::DeleteApiKeyRequest,
) -> Result<(), ServerError> {
    let (account, user) = names::account_or_user("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let user = super::visible(call, &account, user)?;
    if request.key_id.is_empty() {
        return Err(ServerError::field("keyId", "is required"));
    }
    let key = call.state.store().api_key_get(&account, user.as_ref(), &request.key_id).await?;
    if key.rights == KeyRights::Operator {
        call.caller.must_be_operator("take back an operator's key")?;
        if key.key_id == call.caller.key_id {
            return Err(ServerError::FailedPrecondition(
                "this is the operator's key that makes the call; stop the server, remove the file api-key of its \
                 data directory and start it, which makes a new key; then take this one back with the new one"
                    .to_owned(),
            ));
        }
    }
    call.state.store().api_key_delete(&key).await?;
    Ok(())
}

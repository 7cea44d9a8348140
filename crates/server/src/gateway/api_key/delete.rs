//! `DeleteApiKey`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn api_key_delete(
    call: &Call,
    request: pb::DeleteApiKeyRequest,
) -> Result<(), ServerError> {
    let account = names::account_or_user("parent", &request.parent)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("DeleteApiKey is not supported by this server yet".to_owned()))
}

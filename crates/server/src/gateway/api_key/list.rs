//! `ListApiKeys`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn api_key_list(
    call: &Call,
    request: pb::ListApiKeysRequest,
) -> Result<pb::ListApiKeysResponse, ServerError> {
    let account = names::account_or_user("parent", &request.parent)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("ListApiKeys is not supported by this server yet".to_owned()))
}

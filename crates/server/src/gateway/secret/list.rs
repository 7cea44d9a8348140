//! `ListSecrets`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn secret_list(
    call: &Call,
    request: pb::ListSecretsRequest,
) -> Result<pb::ListSecretsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("ListSecrets is not supported by this server yet".to_owned()))
}

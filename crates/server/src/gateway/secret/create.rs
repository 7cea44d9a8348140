//! `CreateSecret`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn secret_create(
    call: &Call,
    request: pb::CreateSecretRequest,
) -> Result<pb::Secret, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("CreateSecret is not supported by this server yet".to_owned()))
}

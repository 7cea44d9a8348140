//! `UpdateSecret`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn secret_update(
    call: &Call,
    request: pb::UpdateSecretRequest,
) -> Result<pb::Secret, ServerError> {
    let account = names::secret("secret.name", &request.secret.unwrap_or_default().name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UpdateSecret is not supported by this server yet".to_owned()))
}

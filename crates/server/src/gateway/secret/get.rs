//! `GetSecret`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn secret_get(
    call: &Call,
    request: pb::GetSecretRequest,
) -> Result<pb::Secret, ServerError> {
    let account = names::secret("name", &request.name)?.0;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("GetSecret is not supported by this server yet".to_owned()))
}

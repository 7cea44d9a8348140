//! `DeleteSecret`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn secret_delete(
    call: &Call,
    request: pb::DeleteSecretRequest,
) -> Result<(), ServerError> {
    let account = names::secret("name", &request.name)?.0;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("DeleteSecret is not supported by this server yet".to_owned()))
}

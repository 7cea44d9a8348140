//! `DeleteSecret`.

use hearth_domain::Secret;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Deletes a secret with its value.
pub(in crate::gateway) async fn secret_delete(
    call: &Call,
    request: pb::DeleteSecretRequest,
) -> Result<(), ServerError> {
    let name = names::secret("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    call.state.store().delete::<Secret>(&name.account, name.id.as_str()).await?;
    Ok(())
}

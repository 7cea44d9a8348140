//! `GetSecret`.

use hearth_domain::Secret;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a secret, without its value.
pub(in crate::gateway) async fn secret_get(
    call: &Call,
    request: pb::GetSecretRequest,
) -> Result<pb::Secret, ServerError> {
    let name = names::secret("name", &request.name)?;
    call.caller.may_read(&name.account)?;
    let secret: Secret = call.state.store().get(&name.account, name.id.as_str()).await?;
    mask::apply("Secret", super::to_pb(&secret), request.read_mask.as_ref())
}

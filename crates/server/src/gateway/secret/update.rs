//! `UpdateSecret`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Changes what is given of a secret: the value, the name of its key, or both.
pub(in crate::gateway) async fn secret_update(
    call: &Call,
    request: pb::UpdateSecretRequest,
) -> Result<pb::Secret, ServerError> {
    let mut given = request.secret.unwrap_or_default();
    let name = names::secret("secret.name", &given.name)?;
    call.caller.may_change(&name.account)?;
    let value = super::take_value(&mut given)?;
    let key_name = (!given.key_name.is_empty()).then_some(given.key_name);
    if let Some(key_name) = &key_name {
        super::check_key_name(key_name)?;
    }
    let store = call.state.store();
    let secret = store.secret_update(&name, key_name, value.as_ref(), crate::now_ms()).await?;
    Ok(super::to_pb(&secret))
}

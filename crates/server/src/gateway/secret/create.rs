//! `CreateSecret`.

use hearth_domain::{QuotaKind, SecretRef};
use hearth_proto::gateway as pb;
use hearth_store::NewSecret;

use crate::error::ServerError;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Keeps a secret, encrypted.
pub(in crate::gateway) async fn secret_create(
    call: &Call,
    request: pb::CreateSecretRequest,
) -> Result<pb::Secret, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let mut given = request.secret.unwrap_or_default();
    let value = super::take_value(&mut given)?;
    if given.name.is_empty() {
        return Err(ServerError::field("secret.name", "is required"));
    }
    let name = names::secret_in(&account, "secret.name", &given.name)?;
    if name.account != account {
        let what = format!("is not a secret of account {account}, in which it would be made");
        return Err(ServerError::field("secret.name", what));
    }
    super::check_key_name(&given.key_name)?;
    let value = value.ok_or_else(|| ServerError::field("secret.value", "is required"))?;
    let new = NewSecret { name: SecretRef { account, id: name.id }, key_name: given.key_name, value };
    let _lock = call.state.account_lock(&new.name.account).await;
    must_have_room(&call.state, &new.name.account, QuotaKind::Secrets, 1).await?;
    let secret = call.state.store().secret_create(&new, crate::now_ms()).await?;
    Ok(super::to_pb(&secret))
}

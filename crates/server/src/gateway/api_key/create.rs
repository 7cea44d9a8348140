//! `CreateApiKey`.

use hearth_domain::Role;
use hearth_proto::gateway as pb;
use hearth_store::NewApiKey;
use http::HeaderValue;

use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::time::{milliseconds, timestamp};
use crate::gateway::{Call, names};

/// Fields of the key that are acted on.
const SUPPORTED_FIELDS: &[&str] = &["displayName", "email", "expireTime"];

/// Makes a key for an account. Only the operator may; the secret is in this reply and nowhere else.
pub(in crate::gateway) async fn api_key_create(
    call: &Call,
    request: pb::CreateApiKeyRequest,
) -> Result<pb::ApiKey, ServerError> {
    call.caller.must_be_operator("make API keys")?;
    let (account, user) = names::account_or_user("parent", &request.parent)?;
    let given = request.api_key.unwrap_or_default();
    refuse_other("ApiKey", "apiKey.", &given, SUPPORTED_FIELDS)?;
    // The address comes back in a header of verifyApiKey.
    let email = if given.email.is_empty() { user.unwrap_or_default() } else { given.email };
    if HeaderValue::from_str(&email).is_err() {
        return Err(ServerError::field("apiKey.email", "has characters that an address cannot have"));
    }
    let now_ms = crate::now_ms();
    let expire_time_ms = given.expire_time.as_ref().map(milliseconds);
    if expire_time_ms.is_some_and(|end_ms| end_ms <= now_ms) {
        return Err(ServerError::field("apiKey.expireTime", "is in the past"));
    }
    let new =
        NewApiKey { account, display_name: given.display_name, email, role: Role::User, expire_time_ms };
    let (key, secret) = call.state.store().api_key_create(new, now_ms).await?;
    Ok(pb::ApiKey {
        key_id: key.key_id,
        display_name: key.display_name,
        key: secret,
        create_time: Some(timestamp(key.create_time_ms)),
        secure: true,
        email: key.email,
        prefix: key.prefix,
        expire_time: key.expire_time_ms.map(timestamp),
    })
}

//! API keys.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;

use hearth_domain::{AccountId, ApiKey, UserId};
use hearth_proto::gateway as pb;

use super::Call;
use super::time::timestamp;
use crate::error::ServerError;

/// Whose keys the caller sees in an account: an admin those of `user`, or of everyone if none is named; others their
/// own, of which there are none for a key without a user.
pub(super) fn visible(
    call: &Call,
    account: &AccountId,
    user: Option<UserId>,
) -> Result<Option<UserId>, ServerError> {
    match (user, &call.caller.user) {
        (Some(user), _) if call.caller.is_user(account, &user) => Ok(Some(user)),
        (None, Some(own)) if call.caller.may_administer(account).is_err() => Ok(Some(own.clone())),
        (user, _) => call.caller.may_administer(account).map(|()| user),
    }
}

/// The record as clients see it. `secret` is known only to the call that makes the key.
fn to_pb(key: &ApiKey, secret: String) -> pb::ApiKey {
    pb::ApiKey {
        key_id: key.key_id.clone(),
        display_name: key.display_name.clone(),
        key: secret,
        create_time: Some(timestamp(key.create_time_ms)),
        secure: true,
        email: key.email.clone(),
        prefix: key.prefix.clone(),
        expire_time: key.expire_time_ms.map(timestamp),
    }
}

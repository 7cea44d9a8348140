//! `CreateApiKey`.

use hearth_domain::user::{DISPLAY_NAME_MAX_CHARS, email_problem};
use hearth_domain::{AccountId, KeyRights, QuotaKind, User, UserId};
use hearth_proto::gateway as pb;
use hearth_store::NewApiKey;

use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::time::milliseconds;
use crate::gateway::{Call, names, user};
use crate::quota::must_have_room;

/// Fields of the key that are acted on.
const SUPPORTED_FIELDS: &[&str] = &["displayName", "email", "expireTime"];
/// Name of a key that was not given one.
const DEFAULT_DISPLAY_NAME: &str = "default";

/// Makes a key for a user: for oneself, or as an admin for anyone. The secret is in this reply and nowhere else.
pub(in crate::gateway) async fn api_key_create(
    call: &Call,
    request: pb::CreateApiKeyRequest,
) -> Result<pb::ApiKey, ServerError> {
    let (account, user) = names::account_or_user("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let given = request.api_key.unwrap_or_default();
    let now_ms = crate::now_ms();
    let _lock = call.state.account_lock(&account).await;
    must_have_room(&call.state, &account, QuotaKind::ApiKeys, 1).await?;
    let user = owner(call, &account, user, &given.email, now_ms).await?;
    refuse_other("ApiKey", "apiKey.", &given, SUPPORTED_FIELDS)?;
    if given.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let what = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        return Err(ServerError::field("apiKey.displayName", what));
    }
    let display_name = match given.display_name.as_str() {
        "" => DEFAULT_DISPLAY_NAME.to_owned(),
        name => name.to_owned(),
    };
    let expire_time_ms = given.expire_time.as_ref().map(milliseconds);
    if expire_time_ms.is_some_and(|end_ms| end_ms <= now_ms) {
        return Err(ServerError::field("apiKey.expireTime", "is in the past"));
    }
    let new = NewApiKey { user, display_name, rights: KeyRights::OfUser, expire_time_ms };
    let (key, secret) = call.state.store().api_key_create(new, now_ms).await?;
    Ok(super::to_pb(&key, secret))
}

/// Whose key it will be: the user of the path; or else the one with the address, which is made if there is none; or
/// else the caller.
async fn owner(
    call: &Call,
    account: &AccountId,
    user: Option<UserId>,
    email: &str,
    now_ms: i64,
) -> Result<User, ServerError> {
    let store = call.state.store();
    let own = call.caller.user.clone().filter(|_| call.caller.account == *account);
    let id = match user {
        Some(id) => id,
        None if email.is_empty() || (call.caller.email == email && own.is_some()) => {
            own.ok_or_else(|| ServerError::field("apiKey.email", "is required: it says whose key this is"))?
        }
        None => {
            call.caller.may_administer(account)?;
            if let Some(problem) = email_problem(email) {
                return Err(ServerError::field("apiKey.email", problem));
            }
            let make = |id| user::of_email(account, id, email.to_owned(), now_ms);
            if store.user_by_email(account, email).await?.is_none() {
                must_have_room(&call.state, account, QuotaKind::Users, 1).await?;
            }
            return Ok(store.user_of_email(account, email, make).await?);
        }
    };
    if !call.caller.is_user(account, &id) {
        call.caller.may_administer(account)?;
    }
    let user: User = store.get(account, id.as_str()).await?;
    if !email.is_empty() && email != user.email {
        return Err(ServerError::field(
            "apiKey.email",
            format!("is not the address of user {}", user.name()),
        ));
    }
    Ok(user)
}

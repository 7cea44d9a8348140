//! `CreateUser`.

use hearth_domain::{QuotaKind, User, UserId};
use hearth_proto::gateway as pb;
use hearth_store::NewUserId;

use super::SUPPORTED_FIELDS;
use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Makes a user. Admins only. Without an id, the address gives one; a service account needs an id and no address.
pub(in crate::gateway) async fn user_create(
    call: &Call,
    request: pb::CreateUserRequest,
) -> Result<pb::User, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_administer(&account)?;
    let given = request.user.unwrap_or_default();
    refuse_other("User", "user.", &given, SUPPORTED_FIELDS)?;
    super::check_texts(&given)?;
    let role = super::role(&given.role)?;
    let id = match request.user_id.as_str() {
        "" if given.service_account => {
            return Err(ServerError::field("userId", "is required for a service account"));
        }
        "" if given.email.is_empty() => {
            return Err(ServerError::field("user.email", "is required if userId is not given"));
        }
        "" => NewUserId::OfEmail,
        id => NewUserId::Given(
            UserId::new(id).map_err(|error| ServerError::field("userId", error.to_string()))?,
        ),
    };
    let now_ms = crate::now_ms();
    let make = |id| User {
        role,
        display_name: given.display_name.clone(),
        service_account: given.service_account,
        first_name: given.first_name.clone(),
        last_name: given.last_name.clone(),
        stated_role: given.stated_role.clone(),
        ..super::of_email(&account, id, given.email.clone(), now_ms)
    };
    let _lock = call.state.account_lock(&account).await;
    must_have_room(&call.state, &account, QuotaKind::Users, 1).await?;
    let user = call.state.store().user_create(&account, id, make).await?;
    Ok(super::to_pb(&user))
}

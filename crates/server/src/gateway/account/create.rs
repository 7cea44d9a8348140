//! `CreateAccount`.

use hearth_domain::user::email_problem;
use hearth_domain::{Account, AccountId};
use hearth_proto::gateway as pb;
use hearth_store::NewUserId;

use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, user};

/// Fields of the account that are acted on.
const SUPPORTED_FIELDS: &[&str] = &["displayName", "email"];

/// Makes an account. Only the operator may. If it has an address, whoever that belongs to is its first admin.
pub(in crate::gateway) async fn account_create(
    call: &Call,
    request: pb::CreateAccountRequest,
) -> Result<pb::Account, ServerError> {
    call.caller.must_be_operator("make accounts")?;
    if request.account_id.is_empty() {
        return Err(ServerError::field("accountId", "is required"));
    }
    let id = AccountId::new(request.account_id)
        .map_err(|error| ServerError::field("accountId", error.to_string()))?;
    let given = request.account.unwrap_or_default();
    refuse_other("Account", "account.", &given, SUPPORTED_FIELDS)?;
    if let Some(problem) = email_problem(&given.email).filter(|_| !given.email.is_empty()) {
        return Err(ServerError::field("account.email", problem));
    }
    let now_ms = crate::now_ms();
    let account = Account::new(id, &given.display_name, &given.email, now_ms);
    let store = call.state.store();
    store.account_create(&account).await?;
    if !account.email.is_empty() {
        let make = |id| user::admin_of(&account, id, now_ms);
        store.user_create(&account.id, NewUserId::OfEmail, make).await?;
    }
    Ok(super::to_pb(&account))
}

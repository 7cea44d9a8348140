//! `CreateAccount`.

use hearth_domain::{Account, AccountId};
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::Call;
use crate::gateway::given::refuse_other;

/// Fields of the account that are acted on.
const SUPPORTED_FIELDS: &[&str] = &["displayName", "email"];

/// Makes an account. Only the operator may.
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
    let now_ms = crate::now_ms();
    let account = Account {
        id,
        display_name: given.display_name,
        email: given.email,
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    call.state.store().account_create(&account).await?;
    Ok(super::to_pb(&account))
}

//! `SuspendAccount`.

use hearth_domain::{Account, SuspendState};
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Why, if nobody says it.
const REASON_DEFAULT: SuspendState = SuspendState::BlockedByAbuseRule;

/// Stops the jobs of an account that wait or run, and lets it neither make jobs nor chat. Only the operator may.
pub(in crate::gateway) async fn account_suspend(
    call: &Call,
    request: pb::SuspendAccountRequest,
) -> Result<pb::Account, ServerError> {
    let id = names::account("name", &request.name)?;
    call.caller.must_be_operator("suspend accounts")?;
    if id.as_str() == Account::CATALOGUE {
        return Err(ServerError::FailedPrecondition(format!(
            "account {id} owns the shared models and has no jobs; it cannot be suspended"
        )));
    }
    let unknown = |_| ServerError::field("suspendState", format!("there is no {}", request.suspend_state));
    let wanted = pb::account::SuspendState::try_from(request.suspend_state).map_err(unknown)?;
    let state = match SuspendState::from_name(wanted.as_str_name()) {
        None | Some(SuspendState::Unsuspended) => REASON_DEFAULT,
        Some(state) => state,
    };
    let account = call.state.store().account_suspend(&id, state, crate::now_ms()).await?;
    call.state.wake_scheduler();
    Ok(super::to_pb(&account))
}

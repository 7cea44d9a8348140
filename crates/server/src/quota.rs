//! What an account may still make.

use hearth_domain::{AccountId, Quota, QuotaKind};

use crate::error::ServerError;
use crate::state::AppState;

/// A quota as it is now.
pub(crate) async fn current(
    state: &AppState,
    account: &AccountId,
    kind: QuotaKind,
) -> Result<Quota, ServerError> {
    let usage = state.store().quota_usage(account, kind).await?;
    let limit = state.limits().quotas.limit(account, kind);
    Ok(Quota { account: account.clone(), id: kind.id().to_owned(), limit, usage })
}

/// RESOURCE_EXHAUSTED, with the name of the quota, if an account cannot have so many more. It stays true as long as the
/// caller holds [`AppState::account_lock`].
pub(crate) async fn must_have_room(
    state: &AppState,
    account: &AccountId,
    kind: QuotaKind,
    more: u64,
) -> Result<(), ServerError> {
    let quota = current(state, account, kind).await?;
    if quota.usage.saturating_add(more) <= quota.limit {
        return Ok(());
    }
    Err(ServerError::QuotaExceeded { quota, more })
}

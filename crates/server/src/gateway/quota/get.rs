//! `GetQuota`.

use hearth_domain::QuotaKind;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};
use crate::quota;

/// Reads a quota, with what is used of it now.
pub(in crate::gateway) async fn quota_get(
    call: &Call,
    request: pb::GetQuotaRequest,
) -> Result<pb::Quota, ServerError> {
    let (account, id) = names::quota("name", &request.name)?;
    call.caller.may_read(&account)?;
    let kind = QuotaKind::from_id(&id)
        .ok_or_else(|| ServerError::NotFound(format!("quota {} does not exist", request.name)))?;
    call.state.store().account_get(&account).await?;
    let quota = quota::current(&call.state, &account, kind).await?;
    mask::apply("Quota", super::to_pb(&quota), request.read_mask.as_ref())
}

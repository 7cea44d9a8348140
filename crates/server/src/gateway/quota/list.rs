//! `ListQuotas`.

use hearth_domain::QuotaKind;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};
use crate::quota;

/// Lists the quotas of an account, with what is used of them now.
pub(in crate::gateway) async fn quota_list(
    call: &Call,
    request: pb::ListQuotasRequest,
) -> Result<pb::ListQuotasResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let query = list_query(
        Resource::QUOTA,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    call.state.store().account_get(&account).await?;
    let mut quotas = Vec::with_capacity(QuotaKind::ALL.len());
    for kind in QuotaKind::ALL {
        quotas.push(quota::current(&call.state, &account, kind).await?);
    }
    let page = call.state.store().quota_list(&account, quotas, &query).await?;
    let quotas = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListQuotasResponse {
        quotas: mask::apply_all("Quota", quotas, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

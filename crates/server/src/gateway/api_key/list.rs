//! `ListApiKeys`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists keys, without their secrets: one's own, or as an admin those of a user or of the whole account.
pub(in crate::gateway) async fn api_key_list(
    call: &Call,
    request: pb::ListApiKeysRequest,
) -> Result<pb::ListApiKeysResponse, ServerError> {
    let (account, user) = names::account_or_user("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let user = super::visible(call, &account, user)?;
    let query = list_query(
        Resource::API_KEY,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let page = call.state.store().api_key_list(&account, user.as_ref(), &query).await?;
    let keys = page.items.iter().map(|key| super::to_pb(key, String::new())).collect();
    Ok(pb::ListApiKeysResponse {
        api_keys: mask::apply_all("ApiKey", keys, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

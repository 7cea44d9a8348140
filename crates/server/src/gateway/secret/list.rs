//! `ListSecrets`.

use hearth_domain::Secret;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the secrets of an account, without their values.
pub(in crate::gateway) async fn secret_list(
    call: &Call,
    request: pb::ListSecretsRequest,
) -> Result<pb::ListSecretsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let query = list_query(
        Resource::SECRET,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let page = call.state.store().list::<Secret>(&account, &query).await?;
    let secrets = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListSecretsResponse {
        secrets: mask::apply_all("Secret", secrets, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

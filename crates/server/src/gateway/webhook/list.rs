//! `ListWebhooks`.

use hearth_domain::Webhook;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the webhooks of an account.
pub(in crate::gateway) async fn webhook_list(
    call: &Call,
    request: pb::ListWebhooksRequest,
) -> Result<pb::ListWebhooksResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read(&account)?;
    let query = list_query(
        Resource::WEBHOOK,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let page = call.state.store().list::<Webhook>(&account, &query).await?;
    let webhooks = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListWebhooksResponse {
        webhooks: mask::apply_all("Webhook", webhooks, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

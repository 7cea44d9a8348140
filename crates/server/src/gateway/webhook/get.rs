//! `GetWebhook`.

use hearth_domain::Webhook;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a webhook, without what it signs with.
pub(in crate::gateway) async fn webhook_get(
    call: &Call,
    request: pb::GetWebhookRequest,
) -> Result<pb::Webhook, ServerError> {
    let (account, id) = names::webhook("name", &request.name)?;
    call.caller.may_read(&account)?;
    let webhook: Webhook = call.state.store().get(&account, id.as_str()).await?;
    mask::apply("Webhook", super::to_pb(&webhook), request.read_mask.as_ref())
}

//! `DeleteWebhook`.

use hearth_domain::Webhook;
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Deletes a webhook with all that it was still to be told.
pub(in crate::gateway) async fn webhook_delete(
    call: &Call,
    request: pb::DeleteWebhookRequest,
) -> Result<(), ServerError> {
    let (account, id) = names::webhook("name", &request.name)?;
    call.caller.may_change(&account)?;
    call.state.store().delete::<Webhook>(&account, id.as_str()).await?;
    Ok(())
}

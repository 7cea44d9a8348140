//! `ListModels`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the models of an account; where they are deployed, only if asked for.
pub(in crate::gateway) async fn model_list(
    call: &Call,
    request: pb::ListModelsRequest,
) -> Result<pb::ListModelsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read_models(&account)?;
    let query = list_query(
        Resource::MODEL,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let page = store.model_list(&account, &query).await?;
    let mut models = Vec::with_capacity(page.items.len());
    for model in &page.items {
        let refs = if request.include_deployed_model_refs {
            super::deployed_refs(store, model).await?
        } else {
            Vec::new()
        };
        models.push(super::to_pb(model, refs));
    }
    Ok(pb::ListModelsResponse {
        models: mask::apply_all("Model", models, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

//! `ListDeployedModels`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::filter::Resource;
use crate::gateway::{Call, list_query, mask, names, total_size};

/// Lists the deployed models of an account: those that somebody loaded, and with `show_internal` all that answer.
pub(in crate::gateway) async fn deployed_model_list(
    call: &Call,
    request: pb::ListDeployedModelsRequest,
) -> Result<pb::ListDeployedModelsResponse, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_read_models(&account)?;
    let query = list_query(
        Resource::DEPLOYED_MODEL,
        request.page_size,
        request.page_token,
        &request.filter,
        &request.order_by,
    )?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let page = store.deployed_model_list(&account, request.show_internal, &query).await?;
    let models = page.items.iter().map(super::to_pb).collect();
    Ok(pb::ListDeployedModelsResponse {
        deployed_models: mask::apply_all("DeployedModel", models, request.read_mask.as_ref())?,
        next_page_token: page.next_page_token,
        total_size: total_size(page.total_size),
    })
}

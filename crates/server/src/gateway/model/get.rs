//! `GetModel`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a model, with where it is deployed.
pub(in crate::gateway) async fn model_get(
    call: &Call,
    request: pb::GetModelRequest,
) -> Result<pb::Model, ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_read_models(&name.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let model = store.model_find(&name).await?;
    let refs = super::deployed_refs(store, &model).await?;
    mask::apply("Model", super::to_pb(&model, refs), request.read_mask.as_ref())
}

//! `RenderDatasetPreview`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn dataset_render_preview(
    call: &Call,
    request: pb::RenderDatasetPreviewRequest,
) -> Result<pb::RenderDatasetPreviewResponse, ServerError> {
    let account = names::dataset("name", &request.name)?.account;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("RenderDatasetPreview is not supported by this server yet".to_owned()))
}

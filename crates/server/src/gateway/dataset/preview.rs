//! `PreviewDataset`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn dataset_preview(
    call: &Call,
    request: pb::PreviewDatasetRequest,
) -> Result<pb::PreviewDatasetResponse, ServerError> {
    let account = names::dataset("name", &request.name)?.account;
    call.caller.may_read(&account)?;
    Err(ServerError::Unimplemented("PreviewDataset is not supported by this server yet".to_owned()))
}

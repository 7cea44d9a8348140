//! `UploadDataset`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn dataset_upload(
    call: &Call,
    request: pb::UploadDatasetRequest,
) -> Result<pb::UploadDatasetResponse, ServerError> {
    let account = names::dataset("name", &request.name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UploadDataset is not supported by this server yet".to_owned()))
}

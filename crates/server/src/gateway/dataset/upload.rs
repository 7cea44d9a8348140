//! `UploadDataset`.

use hearth_proto::gateway as pb;

use super::upload_endpoint::register;
use crate::error::ServerError;
use crate::gateway::{Call, names};

/// The same as `GetDatasetUploadEndpoint`, under its older name.
pub(in crate::gateway) async fn dataset_upload(
    call: &Call,
    request: pb::UploadDatasetRequest,
) -> Result<pb::UploadDatasetResponse, ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let filename_to_signed_urls = register(call, &name, &request.filename_to_size).await?;
    Ok(pb::UploadDatasetResponse { filename_to_signed_urls })
}

//! `ValidateDatasetUpload`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Checks every row of the uploaded files. The dataset becomes READY, or stays UPLOADING and says why.
pub(in crate::gateway) async fn dataset_validate_upload(
    call: &Call,
    request: pb::ValidateDatasetUploadRequest,
) -> Result<(), ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    super::check::dataset_check(&call.state, &name).await.map(|_| ())
}

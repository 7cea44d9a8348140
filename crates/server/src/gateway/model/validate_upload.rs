//! `ValidateModelUpload`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn model_validate_upload(
    call: &Call,
    request: pb::ValidateModelUploadRequest,
) -> Result<pb::ValidateModelUploadResponse, ServerError> {
    let account = names::model("name", &request.name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("ValidateModelUpload is not supported by this server yet".to_owned()))
}

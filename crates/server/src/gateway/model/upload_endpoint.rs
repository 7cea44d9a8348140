//! `GetModelUploadEndpoint`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn model_upload_endpoint(
    call: &Call,
    request: pb::GetModelUploadEndpointRequest,
) -> Result<pb::GetModelUploadEndpointResponse, ServerError> {
    let account = names::model("name", &request.name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("GetModelUploadEndpoint is not supported by this server yet".to_owned()))
}

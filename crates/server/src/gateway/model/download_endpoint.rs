//! `GetModelDownloadEndpoint`.

use hearth_proto::gateway as pb;
use hearth_store::installed;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};
use crate::http::signed;

/// Signs a URL for each file of a model.
pub(in crate::gateway) async fn model_download_endpoint(
    call: &Call,
    request: pb::GetModelDownloadEndpointRequest,
) -> Result<pb::GetModelDownloadEndpointResponse, ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_read_models(&name.account)?;
    let model = installed::read(call.state.data_dir(), &name.account, &name.id)?;
    let filename_to_signed_urls = model
        .manifest
        .files
        .keys()
        .map(|file| (file.clone(), signed::model_file_url(&call.state, &call.context, &name, file)))
        .collect();
    let reply = pb::GetModelDownloadEndpointResponse { filename_to_signed_urls };
    mask::apply("GetModelDownloadEndpointResponse", reply, request.read_mask.as_ref())
}

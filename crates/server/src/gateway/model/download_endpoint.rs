//! `GetModelDownloadEndpoint`.

use hearth_proto::gateway as pb;
use hearth_store::installed;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};
use crate::http::signed;

/// Signs a URL for each file of a model, and for its manifest, which holds size and SHA-256 of each.
pub(in crate::gateway) async fn model_download_endpoint(
    call: &Call,
    request: pb::GetModelDownloadEndpointRequest,
) -> Result<pb::GetModelDownloadEndpointResponse, ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_read_models(&name.account)?;
    crate::state::sync_models(call.state.store()).await?;
    super::files::must_be_ready(call.state.store(), &name).await?;
    let model = installed::read(call.state.data_dir(), &name.account, &name.id)?;
    let filename_to_signed_urls = model
        .manifest
        .files
        .keys()
        .map(String::as_str)
        .chain([installed::MANIFEST_FILE])
        .map(|file| (file.to_owned(), signed::model_file_url(&call.state, &call.context, &name, file)))
        .collect();
    let reply = pb::GetModelDownloadEndpointResponse { filename_to_signed_urls };
    mask::apply("GetModelDownloadEndpointResponse", reply, request.read_mask.as_ref())
}

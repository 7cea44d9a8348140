//! `GetModelUploadEndpoint`.

use std::collections::BTreeMap;

use hearth_proto::gateway as pb;

use super::files;
use crate::error::ServerError;
use crate::gateway::{Call, mask, names};
use crate::http::signed;

/// Registers the files of a model, in place of those registered before, and signs a URL for each: to PUT it, or to
/// begin a resumable upload. Files that are there already stay, and uploads that have begun go on.
pub(in crate::gateway) async fn model_upload_endpoint(
    call: &Call,
    request: pb::GetModelUploadEndpointRequest,
) -> Result<pb::GetModelUploadEndpointResponse, ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let registered = files::checked(&request.filename_to_size)?;
    files::register(&call.state, &name, registered).await?;
    let is_resumable = request.enable_resumable_upload;
    let url = |file: &String| signed::model_upload_url(&call.state, &call.context, &name, file, is_resumable);
    let reply = pb::GetModelUploadEndpointResponse {
        filename_to_signed_urls: request
            .filename_to_size
            .keys()
            .map(|file| (file.clone(), url(file)))
            .collect(),
        filename_to_unsigned_uris: BTreeMap::new(),
    };
    mask::apply("GetModelUploadEndpointResponse", reply, request.read_mask.as_ref())
}

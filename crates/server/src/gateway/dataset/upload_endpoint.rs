//! `GetDatasetUploadEndpoint`.

use std::collections::BTreeMap;

use hearth_domain::DatasetFile;
use hearth_proto::gateway as pb;

use super::files;
use crate::error::ServerError;
use crate::gateway::{Call, mask, names};
use crate::http::signed;

/// Registers the files of a dataset, in place of those registered before, and signs a URL for each.
pub(in crate::gateway) async fn dataset_upload_endpoint(
    call: &Call,
    request: pb::GetDatasetUploadEndpointRequest,
) -> Result<pb::GetDatasetUploadEndpointResponse, ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let mut registered = Vec::with_capacity(request.filename_to_size.len());
    for (file, size) in &request.filename_to_size {
        files::check_name("filenameToSize", &name, file)?;
        registered.push(DatasetFile {
            name: file.clone(),
            size_bytes: files::check_size(file, *size)?,
            sha256: None,
        });
    }
    files::check_count(registered.len())?;
    files::register(&call.state, &name, registered).await?;
    let urls: BTreeMap<String, String> = request
        .filename_to_size
        .keys()
        .map(|file| (file.clone(), signed::upload_url(&call.state, &call.context, &name, file)))
        .collect();
    let reply = pb::GetDatasetUploadEndpointResponse { filename_to_signed_urls: urls };
    mask::apply("GetDatasetUploadEndpointResponse", reply, request.read_mask.as_ref())
}

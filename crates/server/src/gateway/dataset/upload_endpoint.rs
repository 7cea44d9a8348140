//! `GetDatasetUploadEndpoint`.

use std::collections::BTreeMap;

use hearth_domain::{DatasetFile, DatasetRef};
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
    let filename_to_signed_urls = register(call, &name, &request.filename_to_size).await?;
    let reply = pb::GetDatasetUploadEndpointResponse { filename_to_signed_urls };
    mask::apply("GetDatasetUploadEndpointResponse", reply, request.read_mask.as_ref())
}

/// Registers files, in the order of their names, and signs a URL for each.
pub(super) async fn register(
    call: &Call,
    name: &DatasetRef,
    sizes: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, String>, ServerError> {
    files::check_count(sizes.len())?;
    let mut registered = Vec::with_capacity(sizes.len());
    for (file, size) in sizes {
        files::check_name("filenameToSize", name, file)?;
        registered.push(DatasetFile::announced(file, files::check_size(file, *size)?));
    }
    files::check_cases(&registered)?;
    files::register(&call.state, name, registered).await?;
    let url = |file: &String| (file.clone(), signed::upload_url(&call.state, &call.context, name, file));
    Ok(sizes.keys().map(url).collect())
}

//! `GetDatasetDownloadEndpoint`.

use hearth_proto::gateway as pb;

use super::check;
use crate::error::ServerError;
use crate::gateway::{Call, mask, names};
use crate::http::signed;

/// Signs a URL for each file that was uploaded.
pub(in crate::gateway) async fn dataset_download_endpoint(
    call: &Call,
    request: pb::GetDatasetDownloadEndpointRequest,
) -> Result<pb::GetDatasetDownloadEndpointResponse, ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_read(&name.account)?;
    if request.download_lineage {
        return Err(ServerError::Unimplemented(
            "downloadLineage: this server keeps no lineage of datasets; leave it out".to_owned(),
        ));
    }
    let dataset = call.state.store().dataset_get(&name).await?;
    check::must_be_here(&dataset)?;
    let there = dataset.files.iter().filter(|file| file.is_stored());
    let filename_to_signed_urls = there
        .map(|file| {
            (file.name.clone(), signed::dataset_file_url(&call.state, &call.context, &name, &file.name))
        })
        .collect();
    let reply = pb::GetDatasetDownloadEndpointResponse { filename_to_signed_urls };
    mask::apply("GetDatasetDownloadEndpointResponse", reply, request.read_mask.as_ref())
}

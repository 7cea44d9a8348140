//! `UpdateDataset`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Not there yet.
pub(in crate::gateway) async fn dataset_update(
    call: &Call,
    request: pb::UpdateDatasetRequest,
) -> Result<pb::Dataset, ServerError> {
    let account = names::dataset("dataset.name", &request.dataset.unwrap_or_default().name)?.account;
    call.caller.may_change(&account)?;
    Err(ServerError::Unimplemented("UpdateDataset is not supported by this server yet".to_owned()))
}

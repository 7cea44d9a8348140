//! `DeleteDataset`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, names};

/// Removes a dataset and its files. Runs that have begun keep the files that they read.
pub(in crate::gateway) async fn dataset_delete(
    call: &Call,
    request: pb::DeleteDatasetRequest,
) -> Result<(), ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let _lock = call.state.dataset_lock(&name).await;
    Ok(call.state.store().dataset_delete(&name).await?)
}

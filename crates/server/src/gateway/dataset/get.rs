//! `GetDataset`.

use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::{Call, mask, names};

/// Reads a dataset.
pub(in crate::gateway) async fn dataset_get(
    call: &Call,
    request: pb::GetDatasetRequest,
) -> Result<pb::Dataset, ServerError> {
    let name = names::dataset("name", &request.name)?;
    call.caller.may_read(&name.account)?;
    let dataset = call.state.store().dataset_get(&name).await?;
    mask::apply("Dataset", super::to_pb(&dataset), request.read_mask.as_ref())
}

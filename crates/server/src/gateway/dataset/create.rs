//! `CreateDataset`.

use hearth_domain::{Dataset, DatasetId, DatasetRef, DatasetState, QuotaKind};
use hearth_proto::gateway as pb;

use super::{copy, fields};
use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Makes a dataset: without files, in state UPLOADING, or READY with those of another dataset or with rows that lie
/// elsewhere.
pub(in crate::gateway) async fn dataset_create(
    call: &Call,
    request: pb::CreateDatasetRequest,
) -> Result<pb::Dataset, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    if request.dataset_id.is_empty() {
        return Err(ServerError::field("datasetId", "is required"));
    }
    let id = DatasetId::new(request.dataset_id)
        .map_err(|error| ServerError::field("datasetId", error.to_string()))?;
    if !request.filter.is_empty() {
        return Err(ServerError::Unimplemented(
            "filter: this server copies all rows of sourceDatasetId; leave it out, or upload the rows that you want"
                .to_owned(),
        ));
    }
    let given = request.dataset.unwrap_or_default();
    refuse_other("Dataset", "dataset.", &given, fields::SUPPORTED_AT_CREATION)?;
    let name = DatasetRef { account, id };
    let external_url = fields::external_url(given.external_url)?;
    if !external_url.is_empty() && !request.source_dataset_id.is_empty() {
        return Err(ServerError::field("dataset.externalUrl", "does not go with sourceDatasetId; give one"));
    }
    let state = match external_url.is_empty() {
        true => DatasetState::Uploading,
        // Nothing is looked at before a job fetches the rows.
        false => DatasetState::Ready,
    };
    let new = Dataset {
        state,
        external_url,
        display_name: fields::display_name(given.display_name)?,
        example_count: fields::example_count(given.example_count)?,
        format: fields::format(given.format)?,
        source_job_name: fields::source_job_name(&call.caller, given.source_job_name)?,
        ..Dataset::new(name, call.caller.email.clone(), crate::now_ms())
    };
    let dataset = if request.source_dataset_id.is_empty() {
        let account = &new.account;
        let _lock = call.state.account_lock(account).await;
        must_have_room(&call.state, account, QuotaKind::Datasets, 1).await?;
        call.state.store().dataset_create(&new).await?;
        new
    } else {
        copy::dataset_copy(call, new, &request.source_dataset_id).await?
    };
    Ok(super::to_pb(&dataset))
}

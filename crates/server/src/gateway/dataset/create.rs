//! `CreateDataset`.

use hearth_domain::{Dataset, DatasetFormat, DatasetId, DatasetState, Status};
use hearth_proto::gateway as pb;

use crate::error::ServerError;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, names};

/// Fields of the dataset that are acted on.
const SUPPORTED_FIELDS: &[&str] = &["displayName", "exampleCount", "format", "userUploaded"];
/// Longest display name, in characters.
const DISPLAY_NAME_MAX_CHARS: usize = 63;

/// Makes a dataset without files, in state UPLOADING.
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
    if !request.source_dataset_id.is_empty() || !request.filter.is_empty() {
        return Err(ServerError::Unimplemented(
            "sourceDatasetId, filter: this server makes datasets of uploaded files only; leave them out"
                .to_owned(),
        ));
    }
    let given = request.dataset.unwrap_or_default();
    refuse_other("Dataset", "dataset.", &given, SUPPORTED_FIELDS)?;
    if given.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let limit = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        return Err(ServerError::field("dataset.displayName", limit));
    }
    let example_count = u64::try_from(given.example_count).map_err(|_| {
        ServerError::field("dataset.exampleCount", format!("{} is below 0", given.example_count))
    })?;
    let now_ms = crate::now_ms();
    let dataset = Dataset {
        account,
        id,
        format: format(given.format())?,
        display_name: given.display_name,
        state: DatasetState::Uploading,
        status: Status::default(),
        example_count,
        files: Vec::new(),
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    call.state.store().dataset_create(&dataset).await?;
    Ok(super::to_pb(&dataset))
}

fn format(format: pb::dataset::Format) -> Result<DatasetFormat, ServerError> {
    Ok(match format {
        pb::dataset::Format::Unspecified => DatasetFormat::Unspecified,
        pb::dataset::Format::Chat => DatasetFormat::Chat,
        pb::dataset::Format::Completion => DatasetFormat::Completion,
        pb::dataset::Format::Rl => {
            return Err(ServerError::Unimplemented(
                "dataset.format: this server has no use for RL rows; give CHAT or COMPLETION".to_owned(),
            ));
        }
    })
}

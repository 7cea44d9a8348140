//! `CreateDatasetValidationJob`.

use hearth_domain::{
    AccountId, DatasetRef, DatasetValidationFormat, DatasetValidationJob, DatasetValidationJobId,
    DatasetValidationState, ModelRef, Status,
};
use hearth_proto::gateway as pb;
use hearth_store::installed;

use crate::error::ServerError;
use crate::gateway::dataset::check::uploaded_files;
use crate::gateway::dataset::render_preview;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, mask, names};
use crate::limits::VALIDATIONS_KEPT_MAX;

/// Fields that are acted on.
const SUPPORTED: &[&str] = &["displayName", "datasetName", "datasetNames", "format", "baseModel"];
/// Longest display name, in characters.
const DISPLAY_NAME_MAX_CHARS: usize = 63;

/// Queues a check of the rows of uploaded datasets, READY or not, and answers at once.
pub(in crate::gateway) async fn dataset_validation_job_create(
    call: &Call,
    request: pb::CreateDatasetValidationJobRequest,
) -> Result<pb::DatasetValidationJob, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let given = request
        .dataset_validation_job
        .ok_or_else(|| ServerError::field("datasetValidationJob", "is required"))?;
    refuse_other("DatasetValidationJob", "datasetValidationJob.", &given, SUPPORTED)?;
    let id = match request.dataset_validation_job_id.as_str() {
        "" => DatasetValidationJobId::generate(rand::random()),
        id => DatasetValidationJobId::new(id)
            .map_err(|error| ServerError::field("datasetValidationJobId", error.to_string()))?,
    };
    if given.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let what = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        return Err(ServerError::field("displayName", what));
    }
    let format = format(given.format())?;
    let is_single = !given.dataset_name.is_empty();
    let datasets = datasets(call, &account, &given).await?;
    let base_model = base_model(call, &account, format, &given.base_model).await?;
    let now_ms = crate::now_ms();
    let job = DatasetValidationJob {
        account,
        id,
        display_name: given.display_name,
        datasets,
        is_single,
        format,
        base_model,
        state: DatasetValidationState::Pending,
        status: Status::default(),
        result: None,
        validation_error: String::new(),
        reports: Vec::new(),
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    let place = call.state.validations().place()?;
    call.state.store().create(&job).await?;
    call.state.store().dataset_validation_jobs_trim(&job.account, VALIDATIONS_KEPT_MAX).await?;
    place.send((job.account.clone(), job.id.clone()));
    mask::apply("DatasetValidationJob", super::to_pb(&job), None)
}

fn format(format: pb::DatasetValidationFormat) -> Result<DatasetValidationFormat, ServerError> {
    use pb::DatasetValidationFormat as Format;
    Ok(match format {
        Format::Chat => DatasetValidationFormat::Chat,
        Format::Training => DatasetValidationFormat::Training,
        Format::ChatRelaxed => DatasetValidationFormat::ChatRelaxed,
        Format::BatchInferenceStrict => DatasetValidationFormat::BatchInferenceStrict,
        Format::BatchInferenceAllowTrailingAssistant => {
            DatasetValidationFormat::BatchInferenceAllowTrailingAssistant
        }
        Format::BatchInference => DatasetValidationFormat::BatchInference,
        Format::Unspecified => return Err(ServerError::field("format", "is required")),
        Format::Rlor => {
            return Err(ServerError::Unimplemented(
                "format: this server has no use for RLOR rows; give CHAT, CHAT_RELAXED, TRAINING or one of BATCH_INFERENCE"
                    .to_owned(),
            ));
        }
    })
}

/// The base that rows are tried and counted with.
async fn base_model(
    call: &Call,
    account: &AccountId,
    format: DatasetValidationFormat,
    text: &str,
) -> Result<Option<ModelRef>, ServerError> {
    if text.is_empty() {
        return Ok(None);
    }
    if !matches!(format, DatasetValidationFormat::Chat | DatasetValidationFormat::Training) {
        return Err(ServerError::field("baseModel", "goes with the formats CHAT and TRAINING; leave it out"));
    }
    crate::state::sync_models(call.state.store()).await?;
    let base = render_preview::base(call, account, text).await?;
    let dir = installed::read(call.state.data_dir(), &base.account, &base.id)?.dir;
    if !call.state.inference().is_base_trusted(&dir) {
        return Err(ServerError::FailedPrecondition(
            "baseModel: the rows are tried with the template of a base that the operator installed; this one was uploaded. \
             renderPreview tries rows with it"
                .to_owned(),
        ));
    }
    Ok(Some(base.name()))
}

/// The datasets that are named, all of whose files are there.
async fn datasets(
    call: &Call,
    account: &AccountId,
    given: &pb::DatasetValidationJob,
) -> Result<Vec<DatasetRef>, ServerError> {
    let (field, texts) = match (given.dataset_name.as_str(), given.dataset_names.as_slice()) {
        ("", []) => return Err(ServerError::field("datasetName", "is required, or datasetNames")),
        ("", names) => ("datasetNames", names),
        (_, []) => ("datasetName", std::slice::from_ref(&given.dataset_name)),
        _ => return Err(ServerError::field("datasetNames", "give either this or datasetName")),
    };
    if texts.len() > DatasetValidationJob::DATASETS_MAX {
        let what = format!("has {} names; at most {}", texts.len(), DatasetValidationJob::DATASETS_MAX);
        return Err(ServerError::field(field, what));
    }
    let mut datasets: Vec<DatasetRef> = Vec::with_capacity(texts.len());
    for text in texts {
        let name = names::dataset_in(account, field, text)?;
        call.caller.may_read(&name.account)?;
        if datasets.contains(&name) {
            return Err(ServerError::field(field, format!("has {name} twice")));
        }
        datasets.push(name);
    }
    for name in &datasets {
        uploaded_files(&call.state, &call.state.store().dataset_get(name).await?)?;
    }
    Ok(datasets)
}

//! `CreateBatchInferenceJob`.

use hearth_domain::{
    AccountId, BatchInferenceJob, BatchInferenceJobId, BatchParameters, BatchProgress, BatchState, Dataset,
    DatasetFormat, DatasetId, DatasetRef, DatasetState, ModelRef, QuotaKind, Status,
};
use hearth_proto::gateway as pb;

use super::to_pb;
use crate::batch;
use crate::error::ServerError;
use crate::gateway::dataset::check::must_be_here;
use crate::gateway::given::refuse_other;
use crate::gateway::{Call, model, names};
use crate::openai;
use crate::quota::must_have_room;

/// Fields of the job that are acted on.
const SUPPORTED_FIELDS: &[&str] = &[
    "displayName",
    "model",
    "inputDatasetId",
    "outputDatasetId",
    "inferenceParameters",
    "continuedFromJobName",
];
/// Longest display name, in characters.
const DISPLAY_NAME_MAX_CHARS: usize = 63;
/// What the output dataset is called if the job does not say: the job's id and this.
const OUTPUT_SUFFIX: &str = "-output";

/// Makes a job, reserves its output dataset, and queues the job.
pub(in crate::gateway) async fn batch_inference_job_create(
    call: &Call,
    request: pb::CreateBatchInferenceJobRequest,
) -> Result<pb::BatchInferenceJob, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    call.state.store().account_check(&account).await?;
    let id = match request.batch_inference_job_id.as_str() {
        "" => BatchInferenceJobId::generate(rand::random()),
        id => BatchInferenceJobId::new(id)
            .map_err(|error| ServerError::field("batchInferenceJobId", error.to_string()))?,
    };
    let given = request.batch_inference_job.unwrap_or_default();
    refuse_other("BatchInferenceJob", "batchInferenceJob.", &given, SUPPORTED_FIELDS)?;
    if given.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let limit = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        return Err(ServerError::field("batchInferenceJob.displayName", limit));
    }
    let earlier = earlier(call, &account, &given).await?;
    let model = model(call, &account, &given.model, earlier.as_ref()).await?;
    let input = input(call, &account, &given.input_dataset_id, earlier.as_ref()).await?;
    let parameters = parameters(&given, earlier.as_ref())?;
    let output = match given.output_dataset_id.as_str() {
        "" => DatasetRef { account: account.clone(), id: output_id(&id)? },
        text => names::dataset_in(&account, "batchInferenceJob.outputDatasetId", text)?,
    };
    if output.account != account {
        let field = "batchInferenceJob.outputDatasetId";
        return Err(ServerError::field(field, format!("is not a dataset of account {account}")));
    }
    let now_ms = crate::now_ms();
    let job = BatchInferenceJob {
        account,
        id,
        display_name: given.display_name,
        model,
        input,
        output,
        parameters,
        continued_from: earlier.map(|earlier| earlier.name()).unwrap_or_default(),
        state: BatchState::Pending,
        status: Status::default(),
        progress: BatchProgress::default(),
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    let store = call.state.store();
    let _lock = call.state.account_lock(&job.account).await;
    must_have_room(&call.state, &job.account, QuotaKind::OpenBatchInferenceJobs, 1).await?;
    must_have_room(&call.state, &job.account, QuotaKind::Datasets, 1).await?;
    // The dataset first: a job whose output cannot be made would be answered in vain.
    store.dataset_create(&reserved(&job)).await?;
    if let Err(error) = store.create(&job).await {
        store.dataset_delete(&job.output).await?;
        return Err(error.into());
    }
    call.state.wake_batch();
    Ok(to_pb(&job))
}

/// The output dataset before it has files.
fn reserved(job: &BatchInferenceJob) -> Dataset {
    Dataset {
        source_job_name: job.name(),
        ..Dataset::new(job.output.clone(), &job.created_by, job.create_time_ms)
    }
}

fn output_id(job: &BatchInferenceJobId) -> Result<DatasetId, ServerError> {
    DatasetId::new(format!("{job}{OUTPUT_SUFFIX}")).map_err(|_| {
        let what = format!("is required: the job's id is too long for \"{OUTPUT_SUFFIX}\" behind it");
        ServerError::field("batchInferenceJob.outputDatasetId", what)
    })
}

async fn earlier(
    call: &Call,
    account: &AccountId,
    given: &pb::BatchInferenceJob,
) -> Result<Option<BatchInferenceJob>, ServerError> {
    let field = "batchInferenceJob.continuedFromJobName";
    if given.continued_from_job_name.is_empty() {
        return Ok(None);
    }
    let (owner, id) = names::batch_inference_job(field, &given.continued_from_job_name)?;
    call.caller.may_read(&owner)?;
    if owner != *account {
        return Err(ServerError::field(field, "is a job of another account"));
    }
    let earlier: BatchInferenceJob = call.state.store().get(&owner, id.as_str()).await?;
    if !earlier.state.is_final() {
        return Err(ServerError::FailedPrecondition(format!(
            "{} is not at its end; it goes on by itself",
            earlier.name()
        )));
    }
    Ok(Some(earlier))
}

/// The model, which must be there: an adapter with its base.
async fn model(
    call: &Call,
    account: &AccountId,
    text: &str,
    earlier: Option<&BatchInferenceJob>,
) -> Result<ModelRef, ServerError> {
    let field = "batchInferenceJob.model";
    let name = match (text, earlier) {
        ("", Some(earlier)) => return Ok(earlier.model.clone()),
        ("", None) => return Err(ServerError::field(field, "is required")),
        (text, _) => names::model_in(account, field, text)?,
    };
    call.caller.may_read_models(&name.account)?;
    let store = call.state.store();
    crate::state::sync_models(store).await?;
    let found = store.model_get(&name).await?;
    if model::deployed_refs(store, &found).await?.is_empty() {
        return Err(ServerError::FailedPrecondition(format!(
            "{name} cannot answer: its base model is not installed"
        )));
    }
    match earlier {
        Some(earlier) if earlier.model != name => {
            Err(ServerError::field(field, format!("{} had model {}", earlier.name(), earlier.model)))
        }
        _ => Ok(name),
    }
}

/// The rows, which must be requests.
async fn input(
    call: &Call,
    account: &AccountId,
    text: &str,
    earlier: Option<&BatchInferenceJob>,
) -> Result<DatasetRef, ServerError> {
    let field = "batchInferenceJob.inputDatasetId";
    let name = match (text, earlier) {
        ("", Some(earlier)) => earlier.input.clone(),
        ("", None) => return Err(ServerError::field(field, "is required")),
        (text, _) => names::dataset_in(account, field, text)?,
    };
    call.caller.may_read(&name.account)?;
    let dataset = call.state.store().dataset_get(&name).await?;
    if dataset.state != DatasetState::Ready {
        return Err(ServerError::FailedPrecondition(format!("dataset {name} is not READY")));
    }
    must_be_here(&dataset)?;
    if dataset.format != DatasetFormat::Unspecified {
        return Err(ServerError::FailedPrecondition(format!(
            "dataset {name} has rows to train on; rows of batch inference have custom_id and body"
        )));
    }
    match earlier {
        Some(earlier) if earlier.input != name => {
            Err(ServerError::field(field, format!("{} had dataset {}", earlier.name(), earlier.input)))
        }
        _ => Ok(name),
    }
}

/// What the requests have in common, tried on a request.
fn parameters(
    given: &pb::BatchInferenceJob,
    earlier: Option<&BatchInferenceJob>,
) -> Result<BatchParameters, ServerError> {
    let parameters = match (&given.inference_parameters, earlier) {
        (Some(given), _) => BatchParameters {
            max_tokens: given.max_tokens,
            temperature: given.temperature,
            top_p: given.top_p,
            n: given.n,
            top_k: given.top_k,
            extra_body: given.extra_body.clone(),
        },
        (None, Some(earlier)) => earlier.parameters.clone(),
        (None, None) => BatchParameters::default(),
    };
    let tried = batch::of_parameters(&parameters).and_then(|body| openai::check_chat_options(&body));
    match tried {
        Ok(()) => Ok(parameters),
        Err(error) => Err(ServerError::field("batchInferenceJob.inferenceParameters", error.message)),
    }
}

//! `CreateSupervisedFineTuningJob`.

use hearth_domain::job::{AdapterSettings, WarmStart, resolve};
use hearth_domain::{
    Account, AccountId, Code, Dataset, Job, JobEstimate, JobFacts, JobId, JobRequest, JobSettings, Model,
    ModelKind, ModelRef, QuotaKind, Violations,
};
use hearth_inference::assemble::{self, AssembleError};
use hearth_proto::gateway as pb;
use hearth_store::{StoreError, installed};

use super::{request, storage, template, to_pb};
use crate::error::{FieldViolation, ServerError};
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Makes a job and queues it. The reply has every default filled in.
pub(in crate::gateway) async fn job_create(
    call: &Call,
    request: pb::CreateSupervisedFineTuningJobRequest,
) -> Result<pb::SupervisedFineTuningJob, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    if request.debug {
        return Err(ServerError::Unimplemented(
            "debug: this server has no debug mode; leave it out".to_owned(),
        ));
    }
    let id = match request.supervised_fine_tuning_job_id.as_str() {
        "" => JobId::generate(rand::random()),
        id => {
            let wrong = |error| ServerError::field("supervisedFineTuningJobId", format!("{error}"));
            JobId::new(id).map_err(wrong)?
        }
    };
    let given = request
        .supervised_fine_tuning_job
        .ok_or_else(|| ServerError::field("supervisedFineTuningJob", "is required"))?;
    let wandb_key = request::wandb_key(&given)?;
    let wanted = request::from_pb(given)?;
    let store = call.state.store();
    let (facts, mut settings) = resolved(call, account, id, &wanted).await?;
    if let Some(wandb) = settings.wandb.as_mut().filter(|wandb| wandb.run_id.is_empty()) {
        wandb.run_id = JobId::generate(rand::random()).to_string();
    }
    template::try_out(call, facts.dataset.as_ref(), &settings).await?;
    let mut job = Job::new(facts.account, facts.job, settings, &call.caller.email, crate::now_ms());
    job.estimate = JobEstimate::Waiting;
    let stored = {
        let _lock = call.state.account_lock(&job.account).await;
        must_have_room(&call.state, &job.account, QuotaKind::OpenSupervisedFineTuningJobs, 1).await?;
        must_have_room(&call.state, &job.account, QuotaKind::Models, 1).await?;
        store.job_create_logged(&job, wandb_key.as_ref()).await?
    };
    call.state.wake_scheduler();
    Ok(to_pb(call, &stored.job))
}

/// Looks up what a request names, and fills in every default.
pub(super) async fn resolved(
    call: &Call,
    account: AccountId,
    job: JobId,
    wanted: &JobRequest,
) -> Result<(JobFacts, JobSettings), ServerError> {
    crate::state::sync_models(call.state.store()).await?;
    let facts = facts(call, account, job, wanted).await?;
    let settings = resolve(wanted, &facts).map_err(|found| refused(&found))?;
    Ok((facts, settings))
}

/// Looks up what the request names. Names of other accounts are PERMISSION_DENIED.
async fn facts(
    call: &Call,
    account: AccountId,
    job: JobId,
    wanted: &JobRequest,
) -> Result<JobFacts, ServerError> {
    let rows = dataset(call, &account, "dataset", &wanted.dataset).await?;
    let evaluation = dataset(call, &account, "evaluationDataset", &wanted.evaluation_dataset).await?;
    Ok(JobFacts {
        storage: storage::facts(call, &account, wanted, [rows.as_ref(), evaluation.as_ref()]).await?,
        dataset: rows,
        evaluation_dataset: evaluation,
        base_model: base_model(call, &account, &wanted.base_model).await?,
        warm_start: warm_start(call, &account, &wanted.warm_start_from).await?,
        placement: call.state.placement(&account),
        account,
        job,
    })
}

/// What is there, or `None`.
fn if_found<T>(found: Result<T, StoreError>) -> Result<Option<T>, ServerError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn dataset(
    call: &Call,
    account: &AccountId,
    field: &str,
    text: &str,
) -> Result<Option<Dataset>, ServerError> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = names::dataset_in(account, field, text)?;
    call.caller.may_read(&name.account)?;
    if_found(call.state.store().dataset_get(&name).await)
}

/// A full name; or a bare id, of the own account first and then of the catalogue.
pub(in crate::gateway) async fn base_model(
    call: &Call,
    account: &AccountId,
    text: &str,
) -> Result<Option<Model>, ServerError> {
    if text.is_empty() {
        return Ok(None);
    }
    let store = call.state.store();
    let own = names::model_in(account, "baseModel", text)?;
    call.caller.may_read_models(&own.account)?;
    let found = if_found(store.model_find(&own).await)?;
    if found.is_some() || text.contains('/') {
        return Ok(found);
    }
    let catalogue = AccountId::new(Account::CATALOGUE).expect("the catalogue's account has a valid id");
    if_found(store.model_find(&ModelRef { account: catalogue, id: own.id }).await)
}

/// The adapter to go on from, with its base and what its files say.
async fn warm_start(call: &Call, account: &AccountId, text: &str) -> Result<Option<WarmStart>, ServerError> {
    if text.is_empty() {
        return Ok(None);
    }
    let store = call.state.store();
    let name = names::model_in(account, "warmStartFrom", text)?;
    call.caller.may_read_models(&name.account)?;
    let Some(model) = if_found(store.model_find(&name).await)? else { return Ok(None) };
    let ModelKind::Adapter { base_model, .. } = &model.kind else {
        return Ok(Some(WarmStart { model, base: None, settings: Err("it is no adapter".to_owned()) }));
    };
    let base = if_found(store.model_find(base_model).await)?;
    let settings = match &base {
        Some(base) if base.upload.is_none() && model.upload.is_none() => {
            adapter_settings(call, base.name(), model.name()).await?
        }
        _ => Err("its files are not there".to_owned()),
    };
    Ok(Some(WarmStart { model, base, settings }))
}

/// What carries over from an installed adapter, or why nothing can.
async fn adapter_settings(
    call: &Call,
    base: ModelRef,
    adapter: ModelRef,
) -> Result<Result<AdapterSettings, String>, ServerError> {
    let data_dir = call.state.data_dir().to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let base = installed::read(&data_dir, &base.account, &base.id)?;
        let adapter = installed::read(&data_dir, &adapter.account, &adapter.id)?;
        Ok(match assemble::adapter_settings(&base.dir, &adapter.dir) {
            Ok(found) if found.has_tokenizer_of_base => {
                let assemble::AdapterSettings { r, alpha, target_modules, .. } = found;
                Ok(AdapterSettings { r, alpha, target_modules })
            }
            Ok(_) => Err("its tokenizer.json is not that of its base".to_owned()),
            Err(error @ AssembleError::Refused(_)) => Err(error.to_string()),
            Err(error) => return Err(ServerError::internal("reading the adapter to go on from", error)),
        })
    });
    reading.await.map_err(|source| ServerError::internal("reading the adapter to go on from", source))?
}

/// All violations, with the way out where a model is not installed.
fn refused(found: &Violations) -> ServerError {
    let violation = |one: &hearth_domain::FieldViolation| {
        let hint = match (one.field.as_str(), one.code) {
            ("baseModel", Code::NotFound) => "; the operator can install one with `hearth model pull ID`",
            _ => "",
        };
        FieldViolation { field: one.field.clone(), description: format!("{}{hint}", one.message) }
    };
    ServerError::Refused { code: found.code(), violations: found.list().iter().map(violation).collect() }
}

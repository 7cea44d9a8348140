//! Resource names of requests as typed ids.

use hearth_domain::{
    AccountId, BatchInferenceJobId, DatasetId, DatasetRef, DatasetValidationJobId, DeployedModelId,
    DeploymentId, JobId, ModelId, ModelRef, OperationId, SecretId, SecretRef, UserId, WebhookId,
};
use hearth_proto::names::{
    AccountName, BatchInferenceJobName, CheckpointName, DatasetName, DatasetValidationJobName,
    DeployedModelName, DeploymentName, JobName, ModelName, OperationName, QuotaName, SecretName, UserName,
    WebhookName,
};

use crate::error::ServerError;

fn wrong(field: &str) -> impl Fn(&dyn std::error::Error) -> ServerError {
    let field = field.to_owned();
    move |error| ServerError::field(&field, error.to_string())
}

/// `accounts/{account}`.
pub(crate) fn account(field: &str, name: &str) -> Result<AccountId, ServerError> {
    let name: AccountName = name.parse().map_err(|error| wrong(field)(&error))?;
    AccountId::new(name.account).map_err(|error| wrong(field)(&error))
}

/// `accounts/{account}` or `accounts/{account}/users/{user}`; the account, and the user if there is one.
pub(crate) fn account_or_user(field: &str, name: &str) -> Result<(AccountId, Option<UserId>), ServerError> {
    if name.parse::<UserName>().is_ok() {
        return user(field, name).map(|(account, user)| (account, Some(user)));
    }
    Ok((account(field, name)?, None))
}

/// `accounts/{account}/datasets/{dataset}`.
pub(crate) fn dataset(field: &str, name: &str) -> Result<DatasetRef, ServerError> {
    let name: DatasetName = name.parse().map_err(|error| wrong(field)(&error))?;
    typed_dataset(field, name)
}

/// The same, or a bare id in `account`.
pub(crate) fn dataset_in(account: &AccountId, field: &str, text: &str) -> Result<DatasetRef, ServerError> {
    let name = DatasetName::parse_in(account.as_str(), text).map_err(|error| wrong(field)(&error))?;
    typed_dataset(field, name)
}

fn typed_dataset(field: &str, name: DatasetName) -> Result<DatasetRef, ServerError> {
    Ok(DatasetRef {
        account: AccountId::new(name.account).map_err(|error| wrong(field)(&error))?,
        id: DatasetId::new(name.dataset).map_err(|error| wrong(field)(&error))?,
    })
}

/// `accounts/{account}/models/{model}`.
pub(crate) fn model(field: &str, name: &str) -> Result<ModelRef, ServerError> {
    let name: ModelName = name.parse().map_err(|error| wrong(field)(&error))?;
    typed_model(field, name)
}

/// The same, or a bare id in `account`.
pub(crate) fn model_in(account: &AccountId, field: &str, text: &str) -> Result<ModelRef, ServerError> {
    let name = ModelName::parse_in(account.as_str(), text).map_err(|error| wrong(field)(&error))?;
    typed_model(field, name)
}

fn typed_model(field: &str, name: ModelName) -> Result<ModelRef, ServerError> {
    Ok(ModelRef {
        account: AccountId::new(name.account).map_err(|error| wrong(field)(&error))?,
        id: ModelId::new(name.model).map_err(|error| wrong(field)(&error))?,
    })
}

/// `accounts/{account}/secrets/{secret}`.
pub(crate) fn secret(field: &str, name: &str) -> Result<SecretRef, ServerError> {
    let name: SecretName = name.parse().map_err(|error| wrong(field)(&error))?;
    typed_secret(field, name)
}

/// The same, or a bare id in `account`.
pub(crate) fn secret_in(account: &AccountId, field: &str, text: &str) -> Result<SecretRef, ServerError> {
    let name = SecretName::parse_in(account.as_str(), text).map_err(|error| wrong(field)(&error))?;
    typed_secret(field, name)
}

fn typed_secret(field: &str, name: SecretName) -> Result<SecretRef, ServerError> {
    Ok(SecretRef {
        account: AccountId::new(name.account).map_err(|error| wrong(field)(&error))?,
        id: SecretId::new(name.secret).map_err(|error| wrong(field)(&error))?,
    })
}

/// Readers of names with an account and one id.
macro_rules! owned {
    ($($(#[$doc:meta])* $reader:ident: $name:ident.$part:ident -> $id:ident;)+) => {$(
        $(#[$doc])*
        pub(crate) fn $reader(field: &str, name: &str) -> Result<(AccountId, $id), ServerError> {
            let name: $name = name.parse().map_err(|error| wrong(field)(&error))?;
            let account = AccountId::new(name.account).map_err(|error| wrong(field)(&error))?;
            let id = $id::new(name.$part).map_err(|error| wrong(field)(&error))?;
            Ok((account, id))
        }
    )+};
}

owned! {
    /// `accounts/{account}/webhooks/{webhook}`.
    webhook: WebhookName.webhook -> WebhookId;
    /// `accounts/{account}/supervisedFineTuningJobs/{job}`.
    job: JobName.job -> JobId;
    /// `accounts/{account}/users/{user}`.
    user: UserName.user -> UserId;
    /// `accounts/{account}/datasetValidationJobs/{job}`.
    dataset_validation_job: DatasetValidationJobName.job -> DatasetValidationJobId;
    /// `accounts/{account}/deployments/{deployment}`.
    deployment: DeploymentName.deployment -> DeploymentId;
    /// `accounts/{account}/deployedModels/{deployed_model}`.
    deployed_model: DeployedModelName.deployed_model -> DeployedModelId;
    /// `accounts/{account}/batchInferenceJobs/{job}`.
    batch_inference_job: BatchInferenceJobName.job -> BatchInferenceJobId;
    /// `accounts/{account}/operations/{operation}`.
    operation: OperationName.operation -> OperationId;
}

/// `accounts/{account}/quotas/{quota}`; quotas are named by this server, so the id is a plain text.
pub(crate) fn quota(field: &str, name: &str) -> Result<(AccountId, String), ServerError> {
    let name: QuotaName = name.parse().map_err(|error| wrong(field)(&error))?;
    Ok((AccountId::new(name.account).map_err(|error| wrong(field)(&error))?, name.quota))
}

/// `accounts/{account}/supervisedFineTuningJobs/{job}/checkpoints/{checkpoint}`; the checkpoint is a plain text.
pub(crate) fn checkpoint(field: &str, name: &str) -> Result<(AccountId, JobId, String), ServerError> {
    let name: CheckpointName = name.parse().map_err(|error| wrong(field)(&error))?;
    let account = AccountId::new(name.account).map_err(|error| wrong(field)(&error))?;
    let job = JobId::new(name.job).map_err(|error| wrong(field)(&error))?;
    Ok((account, job, name.checkpoint))
}

//! The one implementation of `gateway.Gateway`: a file per resource and verb.
//!
//! Each RPC first says whose resource it is about and asks [`Caller`] whether that is allowed; nothing is read
//! before. `tests/routes/coverage.rs` fails when an RPC has no case for strangers and foreign keys.

mod account;
mod api_key;
mod batch_inference_job;
pub(crate) mod dataset;
pub(crate) mod dataset_validation_job;
mod deployed_model;
mod deployment;
mod filter;
mod given;
pub(crate) mod job;
mod mask;
pub(crate) mod model;
pub(crate) mod names;
mod operation;
mod precision;
mod quota;
mod secret;
mod structure;
mod time;
pub(crate) mod user;
mod webhook;

use hearth_proto::{gateway as pb, google};
use hearth_store::ListQuery;
use tonic::{Request, Response, Status};

use crate::auth::Caller;
use crate::context::{Face, Present, RequestContext};
use crate::error::ServerError;
use crate::state::AppState;
use filter::Resource;

/// The service that tonic calls.
#[derive(Clone)]
pub(crate) struct Gateway {
    state: AppState,
}

/// What a handler knows besides the request.
pub(crate) struct Call {
    /// The server.
    pub(crate) state: AppState,
    /// Who calls.
    pub(crate) caller: Caller,
    /// Id and base URL of the request.
    pub(crate) context: RequestContext,
    /// gRPC or REST.
    pub(crate) face: Face,
    /// Fields that an update over REST names, JSON names; none over gRPC, where an empty field is not there.
    pub(crate) present: Vec<String>,
}

impl Gateway {
    /// A face of this server; cheap.
    pub(crate) fn new(state: AppState) -> Self {
        Self { state }
    }

    fn call<T>(&self, request: Request<T>) -> Result<(Call, T), ServerError> {
        let (_, extensions, message) = request.into_parts();
        let missing = |what: &'static str| ServerError::internal("reading the extensions of a call", what);
        let caller = extensions.get::<Caller>().ok_or_else(|| missing("no caller"))?.clone();
        let context = extensions.get::<RequestContext>().ok_or_else(|| missing("no context"))?.clone();
        let face = *extensions.get::<Face>().ok_or_else(|| missing("no face"))?;
        let present = extensions.get::<Present>().cloned().unwrap_or_default().0;
        Ok((Call { state: self.state.clone(), caller, context, face, present }, message))
    }
}

/// Binds each RPC to its function.
macro_rules! rpcs {
    ($($rpc:ident($request:ty) -> $reply:ty = $function:path;)+) => {
        #[tonic::async_trait]
        impl pb::gateway_server::Gateway for Gateway {
            $(
                async fn $rpc(&self, request: Request<$request>) -> Result<Response<$reply>, Status> {
                    let (call, request) = self.call(request)?;
                    Ok(Response::new($function(&call, request).await?))
                }
            )+
        }
    };
}

rpcs! {
    create_account(pb::CreateAccountRequest) -> pb::Account = account::create::account_create;
    get_account(pb::GetAccountRequest) -> pb::Account = account::get::account_get;
    list_accounts(pb::ListAccountsRequest) -> pb::ListAccountsResponse = account::list::account_list;
    suspend_account(pb::SuspendAccountRequest) -> pb::Account = account::suspend::account_suspend;
    unsuspend_account(pb::UnsuspendAccountRequest) -> pb::Account = account::unsuspend::account_unsuspend;
    create_api_key(pb::CreateApiKeyRequest) -> pb::ApiKey = api_key::create::api_key_create;
    create_dataset(pb::CreateDatasetRequest) -> pb::Dataset = dataset::create::dataset_create;
    get_dataset(pb::GetDatasetRequest) -> pb::Dataset = dataset::get::dataset_get;
    list_datasets(pb::ListDatasetsRequest) -> pb::ListDatasetsResponse = dataset::list::dataset_list;
    delete_dataset(pb::DeleteDatasetRequest) -> () = dataset::delete::dataset_delete;
    get_dataset_upload_endpoint(pb::GetDatasetUploadEndpointRequest)
        -> pb::GetDatasetUploadEndpointResponse = dataset::upload_endpoint::dataset_upload_endpoint;
    validate_dataset_upload(pb::ValidateDatasetUploadRequest) -> ()
        = dataset::validate_upload::dataset_validate_upload;
    get_dataset_download_endpoint(pb::GetDatasetDownloadEndpointRequest)
        -> pb::GetDatasetDownloadEndpointResponse = dataset::download_endpoint::dataset_download_endpoint;
    get_model(pb::GetModelRequest) -> pb::Model = model::get::model_get;
    list_models(pb::ListModelsRequest) -> pb::ListModelsResponse = model::list::model_list;
    find_models_by_row(pb::FindModelsByRowRequest) -> pb::FindModelsByRowResponse = model::find_by_row::model_find_by_row;
    delete_model(pb::DeleteModelRequest) -> () = model::delete::model_delete;
    get_model_download_endpoint(pb::GetModelDownloadEndpointRequest)
        -> pb::GetModelDownloadEndpointResponse = model::download_endpoint::model_download_endpoint;
    list_serverless_lora_models(pb::ListServerlessLoraModelsRequest)
        -> pb::ListServerlessLoraModelsResponse = deployed_model::serverless_lora::serverless_lora_list;
    get_deployed_model(pb::GetDeployedModelRequest) -> pb::DeployedModel = deployed_model::get::deployed_model_get;
    list_deployed_models(pb::ListDeployedModelsRequest)
        -> pb::ListDeployedModelsResponse = deployed_model::list::deployed_model_list;
    create_supervised_fine_tuning_job(pb::CreateSupervisedFineTuningJobRequest)
        -> pb::SupervisedFineTuningJob = job::create::job_create;
    get_supervised_fine_tuning_job(pb::GetSupervisedFineTuningJobRequest)
        -> pb::SupervisedFineTuningJob = job::get::job_get;
    list_supervised_fine_tuning_jobs(pb::ListSupervisedFineTuningJobsRequest)
        -> pb::ListSupervisedFineTuningJobsResponse = job::list::job_list;
    delete_supervised_fine_tuning_job(pb::DeleteSupervisedFineTuningJobRequest) -> ()
        = job::delete::job_delete;
    cancel_supervised_fine_tuning_job(pb::CancelSupervisedFineTuningJobRequest) -> ()
        = job::cancel::job_cancel;
    pause_supervised_fine_tuning_job(pb::PauseSupervisedFineTuningJobRequest)
        -> pb::SupervisedFineTuningJob = job::pause::job_pause;
    resume_supervised_fine_tuning_job(pb::ResumeSupervisedFineTuningJobRequest)
        -> pb::SupervisedFineTuningJob = job::resume::job_resume;
    list_supervised_fine_tuning_job_events(pb::ListSupervisedFineTuningJobEventsRequest)
        -> pb::ListSupervisedFineTuningJobEventsResponse = job::event_list::job_event_list;
    create_user(pb::CreateUserRequest) -> pb::User = user::create::user_create;
    get_user(pb::GetUserRequest) -> pb::User = user::get::user_get;
    list_users(pb::ListUsersRequest) -> pb::ListUsersResponse = user::list::user_list;
    update_user(pb::UpdateUserRequest) -> pb::User = user::update::user_update;
    delete_user(pb::DeleteUserRequest) -> () = user::delete::user_delete;
    list_api_keys(pb::ListApiKeysRequest) -> pb::ListApiKeysResponse = api_key::list::api_key_list;
    delete_api_key(pb::DeleteApiKeyRequest) -> () = api_key::delete::api_key_delete;
    create_webhook(pb::CreateWebhookRequest) -> pb::Webhook = webhook::create::webhook_create;
    get_webhook(pb::GetWebhookRequest) -> pb::Webhook = webhook::get::webhook_get;
    list_webhooks(pb::ListWebhooksRequest) -> pb::ListWebhooksResponse = webhook::list::webhook_list;
    delete_webhook(pb::DeleteWebhookRequest) -> () = webhook::delete::webhook_delete;
    create_secret(pb::CreateSecretRequest) -> pb::Secret = secret::create::secret_create;
    get_secret(pb::GetSecretRequest) -> pb::Secret = secret::get::secret_get;
    list_secrets(pb::ListSecretsRequest) -> pb::ListSecretsResponse = secret::list::secret_list;
    update_secret(pb::UpdateSecretRequest) -> pb::Secret = secret::update::secret_update;
    delete_secret(pb::DeleteSecretRequest) -> () = secret::delete::secret_delete;
    get_quota(pb::GetQuotaRequest) -> pb::Quota = quota::get::quota_get;
    list_quotas(pb::ListQuotasRequest) -> pb::ListQuotasResponse = quota::list::quota_list;
    update_dataset(pb::UpdateDatasetRequest) -> pb::Dataset = dataset::update::dataset_update;
    upload_dataset(pb::UploadDatasetRequest) -> pb::UploadDatasetResponse = dataset::upload::dataset_upload;
    preview_dataset(pb::PreviewDatasetRequest) -> pb::PreviewDatasetResponse = dataset::preview::dataset_preview;
    split_dataset(pb::SplitDatasetRequest) -> pb::SplitDatasetResponse = dataset::split::dataset_split;
    render_dataset_preview(pb::RenderDatasetPreviewRequest) -> pb::RenderDatasetPreviewResponse = dataset::render_preview::dataset_render_preview;
    create_dataset_validation_job(pb::CreateDatasetValidationJobRequest) -> pb::DatasetValidationJob = dataset_validation_job::create::dataset_validation_job_create;
    get_dataset_validation_job(pb::GetDatasetValidationJobRequest) -> pb::DatasetValidationJob = dataset_validation_job::get::dataset_validation_job_get;
    create_model(pb::CreateModelRequest) -> pb::Model = model::create::model_create;
    update_model(pb::UpdateModelRequest) -> pb::Model = model::update::model_update;
    get_model_upload_endpoint(pb::GetModelUploadEndpointRequest) -> pb::GetModelUploadEndpointResponse = model::upload_endpoint::model_upload_endpoint;
    validate_model_upload(pb::ValidateModelUploadRequest) -> pb::ValidateModelUploadResponse = model::validate_upload::model_validate_upload;
    prepare_model(pb::PrepareModelRequest) -> () = model::prepare::model_prepare;
    import_model(pb::ImportModelRequest) -> google::longrunning::Operation = model::import::model_import;
    get_operation(google::longrunning::GetOperationRequest) -> google::longrunning::Operation = operation::get::operation_get;
    create_deployed_model(pb::CreateDeployedModelRequest) -> pb::DeployedModel = deployed_model::create::deployed_model_create;
    update_deployed_model(pb::UpdateDeployedModelRequest) -> pb::DeployedModel = deployed_model::update::deployed_model_update;
    delete_deployed_model(pb::DeleteDeployedModelRequest) -> () = deployed_model::delete::deployed_model_delete;
    create_deployment(pb::CreateDeploymentRequest) -> pb::Deployment = deployment::create::deployment_create;
    get_deployment(pb::GetDeploymentRequest) -> pb::Deployment = deployment::get::deployment_get;
    list_deployments(pb::ListDeploymentsRequest) -> pb::ListDeploymentsResponse = deployment::list::deployment_list;
    update_deployment(pb::UpdateDeploymentRequest) -> pb::Deployment = deployment::update::deployment_update;
    scale_deployment(pb::ScaleDeploymentRequest) -> () = deployment::scale::deployment_scale;
    delete_deployment(pb::DeleteDeploymentRequest) -> () = deployment::delete::deployment_delete;
    undelete_deployment(pb::UndeleteDeploymentRequest) -> pb::Deployment = deployment::undelete::deployment_undelete;
    create_batch_inference_job(pb::CreateBatchInferenceJobRequest) -> pb::BatchInferenceJob = batch_inference_job::create::batch_inference_job_create;
    get_batch_inference_job(pb::GetBatchInferenceJobRequest) -> pb::BatchInferenceJob = batch_inference_job::get::batch_inference_job_get;
    list_batch_inference_jobs(pb::ListBatchInferenceJobsRequest) -> pb::ListBatchInferenceJobsResponse = batch_inference_job::list::batch_inference_job_list;
    delete_batch_inference_job(pb::DeleteBatchInferenceJobRequest) -> () = batch_inference_job::delete::batch_inference_job_delete;
    estimate_supervised_fine_tuning_job_cost(pb::EstimateSupervisedFineTuningJobCostRequest) -> pb::EstimateSupervisedFineTuningJobCostResponse = job::estimate_cost::job_estimate_cost;
    list_supervised_fine_tuning_job_checkpoints(pb::ListSupervisedFineTuningJobCheckpointsRequest) -> pb::ListSupervisedFineTuningJobCheckpointsResponse = job::checkpoint_list::job_checkpoint_list;
    promote_supervised_fine_tuning_job_checkpoint(pb::PromoteSupervisedFineTuningJobCheckpointRequest) -> pb::PromoteSupervisedFineTuningJobCheckpointResponse = job::checkpoint_promote::job_checkpoint_promote;
}

/// The status of a resource as clients see it.
pub(crate) fn status_to_pb(status: &hearth_domain::Status) -> pb::Status {
    pb::Status { code: status.code.number(), message: status.message.clone() }
}

/// The parameters that all lists have.
fn list_query(
    resource: Resource,
    page_size: i32,
    page_token: String,
    filter: &str,
    order_by: &str,
) -> Result<ListQuery, ServerError> {
    let (filter, order) = (filter::filter(resource, filter)?, filter::order(resource, order_by)?);
    Ok(ListQuery { page_size, page_token, filter, order })
}

/// Length of a list as replies have it.
fn total_size(total: u64) -> i32 {
    i32::try_from(total).unwrap_or(i32::MAX)
}

/// A count as the API has it.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

//! Models: bases and adapters that are installed in the data directory.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod download_endpoint;
pub(super) mod get;
pub(super) mod import;
pub(super) mod list;
pub(super) mod prepare;
pub(super) mod update;
pub(super) mod upload_endpoint;
pub(super) mod validate_upload;

use hearth_domain::{Account, Model, ModelKind, Status};
use hearth_proto::gateway as pb;
use hearth_store::{Store, StoreError};

use super::time::timestamp;
use crate::error::ServerError;

/// Id of the one deployment of a server, which answers with every installed model.
pub(crate) const LOCAL_DEPLOYMENT: &str = "local";

/// The record as clients see it. With `refs`, where it is deployed.
pub(super) fn to_pb(model: &Model, refs: Vec<pb::DeployedModelRef>) -> pb::Model {
    let context_length = i32::try_from(model.context_length).unwrap_or(i32::MAX);
    let mut shown = pb::Model {
        name: model.name().to_string(),
        display_name: model.display_name.clone(),
        create_time: Some(timestamp(model.create_time_ms)),
        update_time: Some(timestamp(model.update_time_ms)),
        created_by: model.created_by.clone(),
        // Only whole models are installed.
        state: pb::model::State::Ready.into(),
        status: Some(super::status_to_pb(&Status::default())),
        public: model.account.as_str() == Account::CATALOGUE,
        context_length,
        imported_from: model.imported_from.clone(),
        supports_serverless: !refs.is_empty(),
        deployed_model_refs: refs,
        ..Default::default()
    };
    match &model.kind {
        ModelKind::Base { parameter_count } => {
            shown.kind = pb::model::Kind::HfBaseModel.into();
            shown.tunable = true;
            shown.supports_lora = true;
            shown.training_context_length = context_length;
            shown.base_model_details = Some(pb::BaseModelDetails {
                world_size: 1,
                checkpoint_format: pb::base_model_details::CheckpointFormat::Huggingface.into(),
                parameter_count: i64::try_from(*parameter_count).unwrap_or(i64::MAX),
                tunable: true,
                model_type: model.model_type.clone(),
                ..Default::default()
            });
        }
        ModelKind::Adapter { base_model, r, target_modules, fine_tuning_job } => {
            shown.kind = pb::model::Kind::HfPeftAddon.into();
            shown.fine_tuning_job = fine_tuning_job.clone();
            shown.peft_details = Some(pb::PeftDetails {
                base_model: base_model.to_string(),
                r: i32::try_from(*r).unwrap_or(i32::MAX),
                target_modules: target_modules.clone(),
                base_model_type: model.model_type.clone(),
                ..Default::default()
            });
        }
    }
    shown
}

/// Where a model is deployed. This server answers chats with every base that is installed, and with every adapter
/// whose base is; nothing has to be loaded first.
pub(in crate::gateway) async fn deployed_refs(
    store: &Store,
    model: &Model,
) -> Result<Vec<pb::DeployedModelRef>, ServerError> {
    if let ModelKind::Adapter { base_model, .. } = &model.kind {
        match store.model_get(base_model).await {
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(vec![pb::DeployedModelRef {
        name: format!("accounts/{}/deployedModels/{}", model.account, model.id),
        deployment: format!("accounts/{}/deployments/{LOCAL_DEPLOYMENT}", model.account),
        state: pb::deployed_model::State::Deployed.into(),
        default: true,
        public: model.account.as_str() == Account::CATALOGUE,
    }])
}

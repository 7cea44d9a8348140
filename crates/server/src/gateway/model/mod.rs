//! Models: bases and adapters that are installed in the data directory, or on their way there.

mod about;
pub(crate) mod check;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod download_endpoint;
pub(crate) mod files;
pub(super) mod find_by_row;
pub(super) mod get;
pub(super) mod import;
pub(super) mod list;
pub(super) mod prepare;
pub(crate) mod sweep;
pub(super) mod update;
pub(super) mod upload_endpoint;
pub(super) mod validate_upload;

use hearth_domain::{Account, DeployedModel, Model, ModelKind};
use hearth_proto::gateway as pb;
use hearth_store::{Store, StoreError};

use super::deployed_model;
use super::time::timestamp;
use crate::error::ServerError;

/// The record as clients see it. With `refs`, where it is deployed.
pub(super) fn to_pb(model: &Model, refs: Vec<pb::DeployedModelRef>) -> pb::Model {
    let context_length = i32::try_from(model.context_length).unwrap_or(i32::MAX);
    let is_ready = model.upload.is_none();
    let status = model.upload.as_ref().map(|upload| upload.status.clone()).unwrap_or_default();
    let mut shown = pb::Model {
        name: model.name().to_string(),
        display_name: model.display_name.clone(),
        create_time: Some(timestamp(model.create_time_ms)),
        update_time: Some(timestamp(model.update_time_ms)),
        created_by: model.created_by.clone(),
        description: model.about.description.clone(),
        github_url: model.about.github_url.clone(),
        hugging_face_url: model.about.hugging_face_url.clone(),
        state: if is_ready { pb::model::State::Ready } else { pb::model::State::Uploading }.into(),
        status: Some(super::status_to_pb(&status)),
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
            shown.tunable = is_ready;
            shown.supports_lora = is_ready;
            shown.training_context_length = context_length;
            shown.base_model_details = Some(pb::BaseModelDetails {
                world_size: 1,
                checkpoint_format: pb::base_model_details::CheckpointFormat::Huggingface.into(),
                parameter_count: i64::try_from(*parameter_count).unwrap_or(i64::MAX),
                tunable: is_ready,
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

/// Where a model is deployed in its account: on the deployment that is built in, which answers with every base that is
/// installed and every adapter whose base is, and wherever somebody loaded it.
pub(in crate::gateway) async fn deployed_refs(
    store: &Store,
    model: &Model,
) -> Result<Vec<pb::DeployedModelRef>, ServerError> {
    let by_itself = match store.deployed_model_get(&model.account, model.id.as_str()).await {
        Ok(found) => Some(found),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let loaded = store.deployed_models_of(&model.name()).await?;
    let loaded = loaded.into_iter().filter(|one| one.account == model.account);
    let all = by_itself.into_iter().filter(|one| one.model == model.name()).chain(loaded);
    let one = |deployed: DeployedModel| pb::DeployedModelRef {
        name: deployed.name(),
        deployment: format!("accounts/{}/deployments/{}", deployed.account, deployed.deployment),
        state: deployed_model::state(deployed.state).into(),
        default: deployed.is_default,
        public: model.account.as_str() == Account::CATALOGUE,
    };
    Ok(all.map(one).collect())
}

//! Deployed models: every base that is installed, and every adapter whose base is. Nothing has to be loaded first.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod serverless_lora;
pub(super) mod update;

use hearth_domain::{Account, Model, Status};
use hearth_proto::gateway as pb;

use super::model::LOCAL_DEPLOYMENT;
use super::time::timestamp;

/// A model that answers, as clients see it. It has the model's id.
fn to_pb(model: &Model) -> pb::DeployedModel {
    let Model { account, id, .. } = model;
    pb::DeployedModel {
        name: format!("accounts/{account}/deployedModels/{id}"),
        display_name: model.display_name.clone(),
        create_time: Some(timestamp(model.create_time_ms)),
        created_by: model.created_by.clone(),
        model: model.name().to_string(),
        deployment: format!("accounts/{account}/deployments/{LOCAL_DEPLOYMENT}"),
        default: true,
        state: pb::deployed_model::State::Deployed.into(),
        serverless: true,
        status: Some(super::status_to_pb(&Status::default())),
        public: account.as_str() == Account::CATALOGUE,
        update_time: Some(timestamp(model.update_time_ms)),
        ..Default::default()
    }
}

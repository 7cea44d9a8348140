//! `CreateDeployment`.

use hearth_domain::{
    Autoscaling, Deployment, DeploymentId, DeploymentState, Model, ModelKind, QuotaKind, Status,
};
use hearth_proto::gateway as pb;

use super::settings;
use crate::deployments::model_files;
use crate::error::ServerError;
use crate::gateway::{Call, names, precision};
use crate::quota::must_have_room;

/// Makes a deployment and begins to load its model.
pub(in crate::gateway) async fn deployment_create(
    call: &Call,
    request: pb::CreateDeploymentRequest,
) -> Result<pb::Deployment, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let given = request.deployment.unwrap_or_default();
    let id = match request.deployment_id.as_str() {
        "" => DeploymentId::generate(rand::random()),
        id => DeploymentId::new(id).map_err(|error| ServerError::field("deploymentId", error.to_string()))?,
    };
    if id.as_str() == Deployment::LOCAL {
        return Err(ServerError::field("deploymentId", format!("{id:?} is the one that is built in")));
    }
    settings::refuse_other(&given)?;
    if given.base_model.is_empty() {
        return Err(ServerError::field(
            "baseModel",
            "is required: the model that the deployment answers with",
        ));
    }
    let base_model = names::model_in(&account, "baseModel", &given.base_model)?;
    call.caller.may_read_models(&base_model.account)?;
    let Some((model, _)) = model_files(call.state.store(), &base_model).await? else {
        return Err(ServerError::NotFound(format!("model {base_model} or its base is not installed")));
    };
    if given.enable_addons && matches!(model.kind, ModelKind::Adapter { .. }) {
        return Err(ServerError::field(
            "enableAddons",
            "adapters go over a base, and baseModel is an adapter",
        ));
    }
    check_context(given.max_context_length, &model)?;
    let stored = precision::stored(&call.state, &model).await?;
    precision::check(given.precision(), stored)?;
    let min = settings::replicas("minReplicaCount", given.min_replica_count)?;
    // 0 is the same as not given here; an update can set it.
    let max = settings::replicas("maxReplicaCount", given.max_replica_count)?.max(1);
    let now_ms = crate::now_ms();
    let mut new = Deployment {
        account,
        id,
        display_name: super::display_name(&given.display_name)?,
        description: super::description(&given.description)?,
        annotations: settings::annotations(given.annotations.iter())?,
        base_model: Some(base_model),
        state: DeploymentState::Creating,
        status: Status::default(),
        min_replica_count: min,
        max_replica_count: max,
        desired_replica_count: 1,
        replica_count: 0,
        autoscaling: settings::autoscaling(given.autoscaling_policy.as_ref(), Autoscaling::default())?,
        enable_addons: given.enable_addons,
        precision: stored.to_owned(),
        last_request_time_ms: None,
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
        delete_time_ms: None,
        purge_time_ms: None,
    };
    if request.disable_auto_deploy {
        if min > 0 {
            return Err(ServerError::field("disableAutoDeploy", "contradicts a minReplicaCount above 0"));
        }
        new.scale(0);
    }
    if !request.validate_only && !request.dry_run {
        let _lock = call.state.account_lock(&new.account).await;
        must_have_room(&call.state, &new.account, QuotaKind::Deployments, 1).await?;
        call.state.deployments().create(&new).await?;
    }
    Ok(super::to_pb(&new))
}

fn check_context(given: i32, model: &Model) -> Result<(), ServerError> {
    if given == 0 || u32::try_from(given) == Ok(model.context_length) {
        return Ok(());
    }
    let own = model.context_length;
    Err(ServerError::field(
        "maxContextLength",
        format!("is {given}; the model has {own}, which stays as it is"),
    ))
}

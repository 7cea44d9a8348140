//! Deployments: models that are kept in memory. Each account has one more, `local`, which answers with everything that
//! is installed and cannot be changed.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod scale;
mod settings;
pub(super) mod undelete;
pub(super) mod update;

use hearth_domain::{Autoscaling, Deployment, DeploymentId, DeploymentState};
use hearth_proto::gateway as pb;

use super::precision;
use super::time::timestamp;
use crate::error::ServerError;

/// Refuses the one that is built in.
fn refuse_local(id: &DeploymentId) -> Result<(), ServerError> {
    if id.as_str() != Deployment::LOCAL {
        return Ok(());
    }
    Err(ServerError::FailedPrecondition(format!(
        "the deployment {:?} is built in: it loads what is asked for and cannot be changed",
        Deployment::LOCAL
    )))
}

/// A display name of a deployment or of a deployed model.
pub(super) fn display_name(given: &str) -> Result<String, ServerError> {
    settings::text("displayName", given, Deployment::DISPLAY_NAME_MAX_CHARS)
}

/// A description of a deployment or of a deployed model.
pub(super) fn description(given: &str) -> Result<String, ServerError> {
    settings::text("description", given, Deployment::DESCRIPTION_MAX_CHARS)
}

/// Refuses one that was deleted.
fn refuse_deleted(deployment: &Deployment) -> Result<(), ServerError> {
    if !deployment.is_deleted() {
        return Ok(());
    }
    Err(ServerError::FailedPrecondition(format!("{} is deleted; undelete it first", deployment.name())))
}

/// The record as clients see it.
fn to_pb(deployment: &Deployment) -> pb::Deployment {
    let count = |replicas: u32| i32::try_from(replicas).unwrap_or(i32::MAX);
    let loading = if deployment.is_loading() { deployment.desired_replica_count } else { 0 };
    pb::Deployment {
        name: deployment.name(),
        display_name: deployment.display_name.clone(),
        description: deployment.description.clone(),
        create_time: Some(timestamp(deployment.create_time_ms)),
        update_time: Some(timestamp(deployment.update_time_ms)),
        delete_time: deployment.delete_time_ms.map(timestamp),
        purge_time: deployment.purge_time_ms.map(timestamp),
        created_by: deployment.created_by.clone(),
        state: state(deployment.state).into(),
        status: Some(super::status_to_pb(&deployment.status)),
        annotations: deployment.annotations.clone().into_iter().collect(),
        min_replica_count: count(deployment.min_replica_count),
        max_replica_count: count(deployment.max_replica_count),
        desired_replica_count: count(deployment.desired_replica_count),
        replica_count: count(deployment.replica_count),
        replica_stats: Some(pb::deployment::ReplicaStats {
            initializing_replica_count: count(loading),
            ready_replica_count: count(deployment.replica_count),
            ..Default::default()
        }),
        autoscaling_policy: Some(policy(&deployment.autoscaling)),
        base_model: deployment.base_model.as_ref().map(ToString::to_string).unwrap_or_default(),
        precision: precision::value(&deployment.precision).into(),
        enable_addons: deployment.enable_addons,
        ..Default::default()
    }
}

fn state(state: DeploymentState) -> pb::deployment::State {
    match state {
        DeploymentState::Creating => pb::deployment::State::Creating,
        DeploymentState::Ready => pb::deployment::State::Ready,
        DeploymentState::Updating => pb::deployment::State::Updating,
        DeploymentState::Failed => pb::deployment::State::Failed,
        DeploymentState::Deleted => pb::deployment::State::Deleted,
    }
}

fn policy(autoscaling: &Autoscaling) -> pb::AutoscalingPolicy {
    let window = |ms: i64| {
        let nanos = (ms % 1000 * 1_000_000) as i32;
        Some(prost_types::Duration { seconds: ms / 1000, nanos })
    };
    pb::AutoscalingPolicy {
        scale_up_window: window(autoscaling.scale_up_window_ms),
        scale_down_window: window(autoscaling.scale_down_window_ms),
        scale_to_zero_window: window(autoscaling.scale_to_zero_window_ms),
        ..Default::default()
    }
}

//! Deployments and deployed models: what shall be in memory, and what is.
//!
//! A record says what is wanted and what is true. Whoever loads models tells it what happened; each change is one
//! method here, so that state, replicas and status always fit together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, DeployedModelId, DeploymentId, ModelRef};

const SECOND_MS: i64 = 1000;
const HOUR_MS: i64 = 3600 * SECOND_MS;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Loads for the first time.
    Creating,
    /// What is wanted is so: the model is in memory, or nothing is if no replica is wanted.
    Ready,
    /// Loads again: it was scaled up, or the server started.
    Updating,
    /// Could not be loaded; the status says why.
    Failed,
    /// Deleted, and can be brought back until it is purged.
    Deleted,
}

/// When replicas come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscaling {
    /// Wait before more replicas.
    pub scale_up_window_ms: i64,
    /// Wait before fewer replicas.
    pub scale_down_window_ms: i64,
    /// Time without a request before no replica at all.
    pub scale_to_zero_window_ms: i64,
}

impl Autoscaling {
    /// Longest wait before more or fewer replicas.
    pub const SCALE_WINDOW_MAX_MS: i64 = HOUR_MS;
    /// Shortest time without a request.
    pub const TO_ZERO_WINDOW_MIN_MS: i64 = 300 * SECOND_MS;
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            scale_up_window_ms: 30 * SECOND_MS,
            scale_down_window_ms: 600 * SECOND_MS,
            scale_to_zero_window_ms: HOUR_MS,
        }
    }
}

/// A base, or an adapter with its base, that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: DeploymentId,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// For programs of the owner.
    pub annotations: BTreeMap<String, String>,
    /// What it answers with; `None` for the one that is built in, which answers with everything that is installed.
    pub base_model: Option<ModelRef>,
    /// Where it stands.
    pub state: DeploymentState,
    /// Why it failed, or OK.
    pub status: Status,
    /// Fewest replicas.
    pub min_replica_count: u32,
    /// Most replicas.
    pub max_replica_count: u32,
    /// How many there shall be.
    pub desired_replica_count: u32,
    /// How many there are.
    pub replica_count: u32,
    /// When they come and go.
    pub autoscaling: Autoscaling,
    /// Whether adapters can be loaded over its base.
    pub enable_addons: bool,
    /// How the base's weights are stored, in the API's word; empty if it has none for it.
    pub precision: String,
    /// When the last request came, to within a minute.
    pub last_request_time_ms: Option<i64>,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
    /// When it was deleted.
    pub delete_time_ms: Option<i64>,
    /// When a deleted one is gone for good.
    pub purge_time_ms: Option<i64>,
}

impl Deployment {
    /// Id of the deployment that every account has: it answers with all that is installed, and cannot be changed.
    pub const LOCAL: &str = "local";
    /// Most replicas: one machine has one.
    pub const REPLICAS_MAX: u32 = 1;
    /// Characters of a display name.
    pub const DISPLAY_NAME_MAX_CHARS: usize = 63;
    /// Characters of a description.
    pub const DESCRIPTION_MAX_CHARS: usize = 999;
    /// Annotations of one deployment.
    pub const ANNOTATIONS_MAX: usize = 64;
    /// Characters of a key or value of an annotation.
    pub const ANNOTATION_MAX_CHARS: usize = 256;
    /// Time from deletion until it cannot be brought back.
    pub const PURGE_AFTER_MS: i64 = 7 * 24 * HOUR_MS;
    /// A deployment with a request within this time is in use.
    pub const TRAFFIC_WINDOW_MS: i64 = HOUR_MS;

    /// `accounts/{account}/deployments/{deployment}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/deployments/{}", self.account, self.id)
    }

    /// Whether it was deleted.
    pub fn is_deleted(&self) -> bool {
        self.state == DeploymentState::Deleted
    }

    /// Whether its model shall be loaded and is not.
    pub fn is_loading(&self) -> bool {
        matches!(self.state, DeploymentState::Creating | DeploymentState::Updating)
    }

    /// Whether its model is in memory.
    pub fn is_up(&self) -> bool {
        self.replica_count > 0
    }

    /// Wants so many replicas. A deployment that failed tries again.
    pub fn scale(&mut self, replicas: u32) {
        self.desired_replica_count = replicas;
        if replicas == 0 {
            self.replica_count = 0;
            self.become_ready();
        } else if self.replica_count == 0 && !self.is_loading() {
            self.state = DeploymentState::Updating;
            self.status = Status::default();
        }
    }

    /// Its model is in memory.
    pub fn loaded(&mut self) {
        self.replica_count = self.desired_replica_count;
        self.become_ready();
    }

    /// Its model could not be loaded.
    pub fn failed(&mut self, status: Status) {
        self.replica_count = 0;
        self.state = DeploymentState::Failed;
        self.status = status;
    }

    /// A new process has nothing in memory. Those that failed try again.
    pub fn restarted(&mut self) {
        self.replica_count = 0;
        if self.desired_replica_count > 0 && !self.is_loading() {
            self.state = DeploymentState::Updating;
            self.status = Status::default();
        }
    }

    /// Deletes it, so that it can be brought back for a while.
    pub fn deleted(&mut self, now_ms: i64) {
        self.scale(0);
        self.state = DeploymentState::Deleted;
        self.delete_time_ms = Some(now_ms);
        self.purge_time_ms = Some(now_ms + Self::PURGE_AFTER_MS);
    }

    /// Brings it back, with one replica if it may have one.
    pub fn undeleted(&mut self) {
        self.delete_time_ms = None;
        self.purge_time_ms = None;
        self.become_ready();
        self.scale(self.max_replica_count.min(1));
    }

    /// Keeps the wanted replicas between the fewest and the most.
    pub fn clamp(&mut self) {
        let wanted = self.desired_replica_count.clamp(self.min_replica_count, self.max_replica_count);
        if wanted != self.desired_replica_count {
            self.scale(wanted);
        }
    }

    /// Whether nobody asked for it for so long that it gives its memory back.
    pub fn is_idle(&self, now_ms: i64, used_ms: i64) -> bool {
        self.is_up()
            && self.min_replica_count == 0
            && now_ms.saturating_sub(used_ms) >= self.autoscaling.scale_to_zero_window_ms
    }

    fn become_ready(&mut self) {
        self.state = DeploymentState::Ready;
        self.status = Status::default();
    }
}

/// Where a deployed model stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployedModelState {
    /// Is loaded, or will be when its deployment is; the status says what is in the way.
    Deploying,
    /// Is in memory. Those that nobody loaded are loaded when they are asked for.
    Deployed,
}

/// An adapter that is kept in memory over the base of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedModel {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: DeployedModelId,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// Which model.
    pub model: ModelRef,
    /// Which deployment of the account.
    pub deployment: DeploymentId,
    /// Whether it is the one that the model's own name stands for.
    pub is_default: bool,
    /// Where it stands.
    pub state: DeployedModelState,
    /// What is in the way, or OK.
    pub status: Status,
    /// Email of who made it.
    pub created_by: String,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl DeployedModel {
    /// Deployed models of one deployment.
    pub const PER_DEPLOYMENT_MAX: usize = 100;

    /// `accounts/{account}/deployedModels/{deployed_model}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/deployedModels/{}", self.account, self.id)
    }

    /// Whether it is on the deployment that is built in.
    pub fn is_local(&self) -> bool {
        self.deployment.as_str() == Deployment::LOCAL
    }

    /// It is in memory.
    pub fn loaded(&mut self) {
        self.state = DeployedModelState::Deployed;
        self.status = Status::default();
    }

    /// It is not, and this is why.
    pub fn waits(&mut self, status: Status) {
        self.state = DeployedModelState::Deploying;
        self.status = status;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    fn deployment() -> Deployment {
        Deployment {
            account: AccountId::new("a").unwrap(),
            id: DeploymentId::new("d").unwrap(),
            display_name: String::new(),
            description: String::new(),
            annotations: BTreeMap::new(),
            base_model: None,
            state: DeploymentState::Creating,
            status: Status::default(),
            min_replica_count: 0,
            max_replica_count: 1,
            desired_replica_count: 1,
            replica_count: 0,
            autoscaling: Autoscaling::default(),
            enable_addons: false,
            precision: String::new(),
            last_request_time_ms: None,
            created_by: String::new(),
            create_time_ms: 0,
            update_time_ms: 0,
            delete_time_ms: None,
            purge_time_ms: None,
        }
    }

    /// Applies each letter: `1` and `0` scale, `l`oaded, `f`ailed, `r`estarted, `d`eleted, `u`ndeleted. Expects state,
    /// wanted and true replicas.
    fn check(events: &str, state: DeploymentState, desired: u32, replicas: u32) {
        let mut at = deployment();
        for event in events.chars() {
            match event {
                '0' => at.scale(0),
                '1' => at.scale(1),
                'l' => at.loaded(),
                'f' => at.failed(Status { code: Code::ResourceExhausted, message: "full".to_owned() }),
                'r' => at.restarted(),
                'd' => at.deleted(5),
                'u' => at.undeleted(),
                _ => unreachable!(),
            }
        }
        assert_eq!(
            (at.state, at.desired_replica_count, at.replica_count),
            (state, desired, replicas),
            "{events}"
        );
        assert_eq!(at.status.code != Code::Ok, state == DeploymentState::Failed, "{events}");
        assert_eq!(at.purge_time_ms.is_some(), state == DeploymentState::Deleted, "{events}");
    }

    #[test]
    fn states_and_replicas_fit_together() {
        use DeploymentState::{Creating, Deleted, Failed, Ready, Updating};
        check("", Creating, 1, 0);
        check("1", Creating, 1, 0);
        check("r", Creating, 1, 0);
        check("l", Ready, 1, 1);
        check("l1", Ready, 1, 1);
        check("l0", Ready, 0, 0);
        check("l01", Updating, 1, 0);
        check("l01l", Ready, 1, 1);
        check("lr", Updating, 1, 0);
        check("l0r", Ready, 0, 0);
        check("f", Failed, 1, 0);
        check("f1", Updating, 1, 0);
        check("f0", Ready, 0, 0);
        check("fr", Updating, 1, 0);
        check("ld", Deleted, 0, 0);
        check("fd", Deleted, 0, 0);
        check("ldr", Deleted, 0, 0);
        check("ldu", Updating, 1, 0);
    }

    #[test]
    fn only_those_without_requests_are_idle() {
        let mut at = deployment();
        at.loaded();
        let window = at.autoscaling.scale_to_zero_window_ms;
        assert!(at.is_idle(window + 7, 7) && !at.is_idle(window + 6, 7));
        at.min_replica_count = 1;
        assert!(!at.is_idle(window + 7, 7));
        at.min_replica_count = 0;
        at.scale(0);
        assert!(!at.is_idle(window + 7, 7));
    }
}

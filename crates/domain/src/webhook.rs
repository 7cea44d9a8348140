//! Webhooks: addresses that are told when the state of a job changes.

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, WebhookId};
use crate::secret::Sealed;
use crate::state::JobState;

/// Longest address, in bytes.
pub const WEBHOOK_URL_MAX_BYTES: usize = 2048;
/// Deliveries in a row that fail before a webhook is said to fail.
pub const WEBHOOK_FAILING_AFTER: u32 = 3;
/// What all types of events about jobs begin with.
const PREFIX: &str = "fine_tuning.job.";

/// A webhook of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: WebhookId,
    /// For people.
    pub display_name: String,
    /// Where events are sent.
    pub url: String,
    /// Types that are sent; empty means all.
    pub event_types: Vec<String>,
    /// Email of who made it.
    pub created_by: String,
    /// What events are signed with.
    pub sealed: Sealed,
    /// How deliveries go.
    pub health: WebhookHealth,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

/// How deliveries to a webhook go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookHealth {
    /// Attempts in a row that failed.
    pub consecutive_failures: u32,
    /// Why the last one failed; empty after a success.
    pub last_error: String,
    /// When it was tried last.
    pub last_attempt_ms: Option<i64>,
    /// When something was delivered last.
    pub last_success_ms: Option<i64>,
    /// Events that were given up.
    pub dropped: u64,
}

impl Webhook {
    /// `accounts/{account}/webhooks/{webhook}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/webhooks/{}", self.account, self.id)
    }

    /// Whether it wants to be told of this type.
    pub fn wants(&self, event_type: &str) -> bool {
        self.event_types.is_empty() || self.event_types.iter().any(|wanted| wanted == event_type)
    }

    /// Whether deliveries fail again and again.
    pub fn is_failing(&self) -> bool {
        self.health.consecutive_failures >= WEBHOOK_FAILING_AFTER
    }
}

/// Type of the event that tells that a job has come into a state.
pub fn job_event_type(state: JobState) -> String {
    let word = match state.name() {
        "COMPLETED" | "EARLY_STOPPED" => "succeeded".to_owned(),
        "DELETING" => "deleted".to_owned(),
        "RE_QUEUEING" => "requeued".to_owned(),
        "PENDING" => "queued".to_owned(),
        name => name.to_lowercase(),
    };
    format!("{PREFIX}{word}")
}

/// All types, sorted.
pub fn job_event_types() -> Vec<String> {
    let mut all: Vec<String> = JobState::ALL.iter().map(|&state| job_event_type(state)).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_events() {
        let all = job_event_types();
        for known in
            ["succeeded", "failed", "cancelled", "running", "paused", "validating", "requeued", "queued"]
        {
            assert!(all.contains(&format!("{PREFIX}{known}")), "{known}: {all:?}");
        }
        assert_eq!(job_event_type(JobState::Completed), "fine_tuning.job.succeeded");
    }
}

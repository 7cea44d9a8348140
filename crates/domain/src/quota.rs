//! Quotas: how much an account may have of something, and has.

use serde::{Deserialize, Serialize};

use crate::id::AccountId;

/// What there is a quota of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// API keys of all users, those that have ended too.
    ApiKeys,
    /// Datasets, READY or not.
    Datasets,
    /// Deployments, with deleted ones that can be brought back.
    Deployments,
    /// Models, with those that open jobs and operations are to make.
    Models,
    /// Batch inference jobs that are not at their end.
    OpenBatchInferenceJobs,
    /// Supervised fine-tuning jobs that are not at their end.
    OpenSupervisedFineTuningJobs,
    /// Supervised fine-tuning jobs that have a trainer, or what fetches their rows.
    RunningSupervisedFineTuningJobs,
    /// Secrets.
    Secrets,
    /// Users.
    Users,
}

impl QuotaKind {
    /// Every kind, by its id.
    pub const ALL: [Self; 9] = [
        Self::ApiKeys,
        Self::Datasets,
        Self::Deployments,
        Self::Models,
        Self::OpenBatchInferenceJobs,
        Self::OpenSupervisedFineTuningJobs,
        Self::RunningSupervisedFineTuningJobs,
        Self::Secrets,
        Self::Users,
    ];

    /// Id in resource names.
    pub fn id(self) -> &'static str {
        match self {
            Self::ApiKeys => "api-keys",
            Self::Datasets => "datasets",
            Self::Deployments => "deployments",
            Self::Models => "models",
            Self::OpenBatchInferenceJobs => "open-batch-inference-jobs",
            Self::OpenSupervisedFineTuningJobs => "open-supervised-fine-tuning-jobs",
            Self::RunningSupervisedFineTuningJobs => "running-supervised-fine-tuning-jobs",
            Self::Secrets => "secrets",
            Self::Users => "users",
        }
    }

    /// Reads what [`id`](Self::id) gives.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }
}

/// A quota of an account, as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Whose.
    pub account: AccountId,
    /// Of what: an id of [`QuotaKind`].
    pub id: String,
    /// How many the account may have.
    pub limit: u64,
    /// How many it has.
    pub usage: u64,
}

impl Quota {
    /// `accounts/{account}/quotas/{quota}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/quotas/{}", self.account, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_in_order() {
        for kind in QuotaKind::ALL {
            assert_eq!(QuotaKind::from_id(kind.id()), Some(kind));
        }
        assert!(QuotaKind::ALL.is_sorted_by_key(|kind| kind.id()));
        assert_eq!(QuotaKind::from_id("gpus"), None);
    }
}

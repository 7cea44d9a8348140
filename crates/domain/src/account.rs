//! Accounts.

use serde::{Deserialize, Serialize};

use crate::id::AccountId;

/// Whether an account is suspended, and why: the API's reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SuspendState {
    /// It is not.
    #[default]
    Unsuspended,
    /// A bill was not paid.
    FailedPayments,
    /// What was paid ahead is used up.
    CreditDepleted,
    /// It spent what it may in a month.
    MonthlySpendLimitExceeded,
    /// It broke a rule.
    BlockedByAbuseRule,
}

impl SuspendState {
    /// Every state, by the number that the API gives it.
    pub const ALL: [Self; 5] = [
        Self::Unsuspended,
        Self::FailedPayments,
        Self::CreditDepleted,
        Self::MonthlySpendLimitExceeded,
        Self::BlockedByAbuseRule,
    ];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsuspended => "UNSUSPENDED",
            Self::FailedPayments => "FAILED_PAYMENTS",
            Self::CreditDepleted => "CREDIT_DEPLETED",
            Self::MonthlySpendLimitExceeded => "MONTHLY_SPEND_LIMIT_EXCEEDED",
            Self::BlockedByAbuseRule => "BLOCKED_BY_ABUSE_RULE",
        }
    }

    /// Reads what [`name`](Self::name) gives.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Owner of everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Id.
    pub id: AccountId,
    /// For people.
    pub display_name: String,
    /// Address of the owner; may be empty.
    pub email: String,
    /// Whether its jobs may run.
    #[serde(default)]
    pub suspend_state: SuspendState,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl Account {
    /// Id of the pseudo-account that owns the base models of the catalogue. Every key may read it, none may change it.
    pub const CATALOGUE: &str = "fireworks";

    /// A new one.
    pub fn new(id: AccountId, display_name: &str, email: &str, now_ms: i64) -> Self {
        Self {
            id,
            display_name: display_name.to_owned(),
            email: email.to_owned(),
            suspend_state: SuspendState::default(),
            create_time_ms: now_ms,
            update_time_ms: now_ms,
        }
    }

    /// `accounts/{account}`.
    pub fn name(&self) -> String {
        format!("accounts/{}", self.id)
    }
}

//! `hearth account suspend`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::config::Server;
use crate::output;

/// Pause all jobs of an account, and let it neither make jobs nor chat (needs an administrator's key)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth account suspend research --reason failed-payments")]
pub struct Args {
    /// Id
    id: String,
    /// Why
    #[arg(long, value_enum, default_value = "blocked-by-abuse-rule")]
    reason: Reason,
    #[command(flatten)]
    server: Server,
}

/// The reasons that the API has.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Reason {
    FailedPayments,
    CreditDepleted,
    MonthlySpendLimitExceeded,
    BlockedByAbuseRule,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::FailedPayments => "FAILED_PAYMENTS",
            Self::CreditDepleted => "CREDIT_DEPLETED",
            Self::MonthlySpendLimitExceeded => "MONTHLY_SPEND_LIMIT_EXCEEDED",
            Self::BlockedByAbuseRule => "BLOCKED_BY_ABUSE_RULE",
        }
    }
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let name = format!("accounts/{}", self.id);
        let body = json!({ "suspendState": self.reason.name() });
        output::resource(json, &self.server.client()?.act(&name, "suspend", &body)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

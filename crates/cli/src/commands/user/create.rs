//! `hearth user create`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::COLLECTION;
use crate::config::Server;
use crate::output;

/// Create a user (needs an admin's key)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth user create ada@example.org --role read-only")]
pub struct Args {
    /// Address; no two users of an account have the same
    email: String,
    /// What the user's keys may do: admin, user, read-only or inference-user
    #[arg(long, value_name = "ROLE", default_value = "user")]
    role: String,
    /// Id; without it, what stands before the @ of the address
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Name for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    display_name: String,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let remote = self.server.connect()?;
        let id = self.id.as_deref().map(|id| ("userId", id));
        let user = remote.client.create(
            &format!("accounts/{}/{COLLECTION}", remote.account),
            id.as_slice(),
            &json!({ "email": self.email, "role": self.role, "displayName": self.display_name }),
        )?;
        output::resource(json, &user)?;
        Ok(ExitCode::SUCCESS)
    }
}

//! `hearth secret update`.

use std::process::ExitCode;

use anyhow::Result;
use hearth_client::qualify;
use serde_json::json;

use super::{COLLECTION, Value};
use crate::config::Server;
use crate::output;

/// Give a secret another value, which is read from standard input or a file
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth secret update s3 --value-file key.txt")]
pub struct Args {
    /// Id or full name
    id: String,
    /// Another name for the value, if it changes too
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    key_name: String,
    #[command(flatten)]
    value: Value,
    #[command(flatten)]
    server: Server,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let value = self.value.read()?;
        let remote = self.server.connect()?;
        let name = qualify(&remote.account, COLLECTION, &self.id);
        let secret = remote.client.update(&name, &json!({ "keyName": self.key_name, "value": value }))?;
        output::resource(json, &secret)?;
        Ok(ExitCode::SUCCESS)
    }
}

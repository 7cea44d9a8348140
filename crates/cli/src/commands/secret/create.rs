//! `hearth secret create`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{COLLECTION, Value};
use crate::config::Server;
use crate::output;

/// Keep a secret, encrypted; its value is read from standard input or a file and is never shown
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth secret create s3 --key-name S3_KEY < key.txt")]
pub struct Args {
    /// Id: 1 to 63 of a-z, 0-9 and '-', beginning with a letter
    id: String,
    /// What the value is called where it is used
    #[arg(long, value_name = "NAME")]
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
        let secret = remote.client.create(
            &format!("accounts/{}/{COLLECTION}", remote.account),
            &[],
            &json!({ "name": self.id, "keyName": self.key_name, "value": value }),
        )?;
        output::resource(json, &secret)?;
        Ok(ExitCode::SUCCESS)
    }
}

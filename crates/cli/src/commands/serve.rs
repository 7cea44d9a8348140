//! `hearth serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{BackendArg, start_log};
use crate::config::{DEFAULT_LISTEN, DataDir};
use crate::local_server::LocalServer;
use crate::output;

/// Run the server: REST, gRPC and chat on one port
///
/// The first start makes the account `default` and an administrator's key, shows the key once and keeps it in
/// the data directory's api-key file. SIGINT or SIGTERM stops the server.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth serve --data-dir ~/hearth-data --listen 127.0.0.1:8080\n\n\
                        HEARTH_LOG sets what is logged, for example HEARTH_LOG=debug.")]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Backend that trains new jobs
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendArg,
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        start_log("info");
        let data_dir = self.data_dir.path()?;
        let server = LocalServer::start(&data_dir, self.listen, self.backend.into())?;
        if json {
            output::json(&json!({
                "url": server.url(),
                "data_dir": data_dir,
                "api_key_path": server.key_path(),
                "api_key": server.new_key(),
            }))?;
        } else {
            output::line(&format!("Hearth listens on {}", server.url()))?;
            output::line(&format!("Data directory: {}", data_dir.display()))?;
            if let Some(key) = server.new_key() {
                output::line(&format!("Administrator's key, shown once: {key}"))?;
            }
            output::line(&format!("The key is kept in {}", server.key_path().display()))?;
        }
        server.run_until_signal()?;
        Ok(ExitCode::SUCCESS)
    }
}

//! `hearth secret rotate-key`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use hearth_store::Store;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::config::{DataDir, secret_keys};
use crate::output;

/// Encrypt every secret of a data directory anew
///
/// Makes a new key in the key file, encrypts everything with it and forgets the old key. With HEARTH_SECRETS_KEYS,
/// encrypts everything with the last of those keys. It can be stopped at any point and run again, and the server may
/// go on meanwhile. Keep a copy of the new key file: old copies open old backups only.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth secret rotate-key --data-dir ~/hearth-data")]
pub struct Args {
    #[command(flatten)]
    data_dir: DataDir,
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        let data_dir = self.data_dir.path()?;
        // Opening a store would make one.
        if !data_dir.join("hearth.db").is_file() {
            bail!("{} is not the data directory of a server", data_dir.display());
        }
        let keys = secret_keys()?;
        let now_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
        let now_ms = i64::try_from(now_ms).context("the clock is far in the future")?;
        let runtime = Runtime::new().context("cannot start threads")?;
        let count = runtime.block_on(async {
            let store = Store::open(&data_dir, now_ms).await?.with_secret_keys(keys);
            let count = store.secrets_rotate().await;
            store.close().await;
            count
        })?;
        if json {
            output::json(&json!({ "encrypted": count }))?;
        } else {
            output::line(&format!("encrypted {count} secrets anew"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

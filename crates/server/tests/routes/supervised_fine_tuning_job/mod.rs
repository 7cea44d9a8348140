//! Supervised fine-tuning jobs. No trainer runs: they stay PENDING.

mod cancel;
mod checkpoint_chat;
mod checkpoint_list;
mod checkpoint_promote;
pub mod checkpoints;
mod create;
mod delete;
mod estimate_cost;
mod event_list;
mod event_stream;
mod fields;
mod get;
mod list;
mod pause;
mod placement;
mod progress;
mod queue;
mod resume;
mod run_settings;
mod storage;
mod template;
mod training;
mod wandb;
mod warm_start;

use serde_json::{Value, json};

use crate::server::{Server, install_model};

/// Path of the collection.
pub const JOBS: &str = "/v1/accounts/default/supervisedFineTuningJobs";

/// With the base `tiny` and the READY dataset `rows`.
pub fn server() -> Server {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    server
}

/// Makes a job with an id of its own.
pub fn create(server: &Server, id: &str) -> Value {
    let body = json!({"dataset": "rows", "baseModel": "tiny"});
    server.post(&format!("{JOBS}?supervisedFineTuningJobId={id}"), &body).ok()
}

//! Adapters that are kept loaded, and the models that answer without.

mod create;
mod delete;
mod get;
mod list;
mod update;

use serde_json::{Value, json};

use crate::server::{Reply, Server};

pub const PATH: &str = "/v1/accounts/default/deployedModels";

pub fn load(server: &Server, model: &str, deployment: &str) -> Reply {
    let mut body = json!({"model": model, "displayName": "x.py"});
    if !deployment.is_empty() {
        body["deployment"] = format!("accounts/default/deployments/{deployment}").into();
    }
    server.post(PATH, &body)
}

/// The path of a resource.
pub fn path_of(resource: &Value) -> String {
    format!("/v1/{}", resource["name"].as_str().unwrap())
}

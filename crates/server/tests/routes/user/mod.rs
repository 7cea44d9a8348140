//! Users.

mod create;
mod delete;
mod get;
mod list;
mod update;

use serde_json::json;

use crate::server::Server;

/// A user of the account `default` with this role, and a key of theirs.
pub(crate) fn user_with_key(server: &Server, id: &str, role: &str) -> String {
    let users = "/v1/accounts/default/users";
    let body = json!({"role": role, "email": format!("{id}@example.org")});
    server.post(&format!("{users}?userId={id}"), &body).ok();
    let key = server.post(&format!("{users}/{id}/apiKeys"), &json!({"apiKey": {}})).ok();
    key["key"].as_str().unwrap().to_owned()
}

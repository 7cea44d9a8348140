//! `GET /v1/accounts/{account}/deployedModels/{deployed_model}`.

use serde_json::json;

use super::PATH;
use crate::deployment::{TUNED, server};

#[test]
fn a_model_answers_under_its_own_id_without_being_loaded() {
    let server = server();
    let shown = server.get(&format!("{PATH}/tuned")).ok();
    assert_eq!((&shown["model"], &shown["state"]), (&json!(TUNED), &json!("DEPLOYED")));
    assert_eq!((&shown["serverless"], &shown["default"]), (&json!(true), &json!(true)));
    let part = server.get(&format!("{PATH}/tuned?readMask=state")).ok();
    assert_eq!(part, json!({"state": "DEPLOYED"}));
    assert_eq!(server.get(&format!("{PATH}/nothing")).error().1, 5);
}

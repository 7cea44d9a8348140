//! `GET /v1/accounts/{account}/deployedModels`.

use serde_json::json;

use super::{PATH, load};
use crate::deployment::{TUNED, server};

/// fireworks-ai 0.19 takes the first of a model for the one to use, and to delete.
#[test]
fn lists_show_what_was_loaded_and_the_rest_if_asked() {
    let server = server();
    assert_eq!(server.get(PATH).ok()["deployedModels"], json!([]));
    let all = server.get(&format!("{PATH}?showInternal=true")).ok();
    assert_eq!((&all["totalSize"], &all["deployedModels"][0]["model"]), (&json!(1), &json!(TUNED)));
    let loaded = load(&server, TUNED, "").ok();
    let by_model = server.get(&format!("{PATH}?filter=model%3D%22{TUNED}%22")).ok();
    assert_eq!(
        (&by_model["totalSize"], &by_model["deployedModels"][0]["name"]),
        (&json!(1), &loaded["name"])
    );
    let all = server.get(&format!("{PATH}?showInternal=true&filter=default%3Dfalse")).ok();
    assert_eq!(
        (&all["totalSize"], &all["deployedModels"][0]["name"]),
        (&json!(1), &json!("accounts/default/deployedModels/tuned"))
    );
    assert_eq!(server.get(&format!("{PATH}?filter=state%3DDEPLOYING")).ok()["totalSize"], 0);
}

//! `DELETE /v1/accounts/{account}/deployedModels/{deployed_model}`.

use super::{PATH, load, path_of};
use crate::deployment::{TUNED, ask, server};

#[test]
fn what_was_loaded_is_gone_at_once() {
    let server = server();
    let loaded = load(&server, TUNED, "").ok();
    server.delete(&path_of(&loaded)).ok();
    assert_eq!(server.get(&path_of(&loaded)).error().1, 5);
    assert_eq!(server.delete(&path_of(&loaded)).error().1, 5);
    assert_eq!(ask(&server, loaded["name"].as_str().unwrap()).0, 404);
    // The model itself answers all the same, and cannot be unloaded.
    assert_eq!(ask(&server, TUNED).0, 200);
    let (status, code, message) = server.delete(&format!("{PATH}/tuned")).error();
    assert!((status, code) == (400, 9) && message.contains("by itself"), "{message}");
}

//! `GET /v1/accounts/{account}/deployments`.

use serde_json::{Value, json};

use super::{BASE, PATH, TUNED, create, server};

fn ids(page: &Value) -> Vec<&str> {
    let list = page["deployments"].as_array().unwrap();
    list.iter().map(|one| one["name"].as_str().unwrap().rsplit('/').next().unwrap()).collect()
}

#[test]
fn lists_show_what_is_there_and_what_was_deleted_if_asked() {
    let server = server();
    for (id, base) in [("b", BASE), ("a", TUNED)] {
        create(&server, id, &json!({"baseModel": base, "displayName": "same"})).ok();
    }
    // The oldest first; the built-in one is as old as its account.
    assert_eq!(ids(&server.get(PATH).ok()), ["local", "b", "a"]);
    assert_eq!(ids(&server.get(&format!("{PATH}?orderBy=name")).ok()), ["a", "b", "local"]);
    let filter = format!("display_name%3D%22same%22%20AND%20base_model%3D%22{BASE}%22");
    assert_eq!(ids(&server.get(&format!("{PATH}?filter={filter}")).ok()), ["b"]);
    server.delete(&format!("{PATH}/b")).ok();
    let page = server.get(PATH).ok();
    assert_eq!((ids(&page), &page["totalSize"]), (vec!["local", "a"], &json!(2)));
    let all = server.get(&format!("{PATH}?showDeleted=true")).ok();
    assert_eq!(ids(&all), ["local", "b", "a"]);
    let gone = &all["deployments"][1];
    assert_eq!((&gone["state"], &gone["replicaCount"]), (&json!("DELETED"), &json!(0)));
    assert!(gone["deleteTime"].as_str() < gone["purgeTime"].as_str(), "{gone}");
    // A page leads to the next one of the same list only.
    let first = server.get(&format!("{PATH}?showDeleted=true&pageSize=2")).ok();
    let token = first["nextPageToken"].as_str().unwrap();
    let next = server.get(&format!("{PATH}?showDeleted=true&pageSize=2&pageToken={token}")).ok();
    assert_eq!((ids(&first), ids(&next)), (vec!["local", "b"], vec!["a"]));
    assert_eq!(server.get(&format!("{PATH}?pageSize=2&pageToken={token}")).status, 400);
}

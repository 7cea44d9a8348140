//! `GET /v1/accounts/{account}/datasets`.

use serde_json::json;

use crate::server::Server;
use crate::snapshot;

#[test]
fn pages_hold_everything_once() {
    let server = Server::start();
    snapshot!(server.get("/v1/accounts/default/datasets"));
    for id in ["c", "a", "b"] {
        server.post("/v1/accounts/default/datasets", &json!({ "datasetId": id })).ok();
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.get(&format!("/v1/accounts/default/datasets?pageSize=2&pageToken={token}")).ok();
        assert_eq!(page["totalSize"], 3);
        names.extend(page["datasets"].as_array().unwrap().iter().map(|one| one["name"].clone()));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    let expect: Vec<String> =
        ["a", "b", "c"].iter().map(|id| format!("accounts/default/datasets/{id}")).collect();
    assert_eq!(names, expect);
}

#[test]
fn wrong_parameters_are_named() {
    let server = Server::start();
    let check = |query: &str, status: u16, part: &str| {
        let (found, _, message) = server.get(&format!("/v1/accounts/default/datasets?{query}")).error();
        assert!(found == status && message.contains(part), "{query}: {found} {message}");
    };
    check("pageSize=-1", 400, "pageSize -1 is below 0");
    check("pageSize=ten", 400, "query parameter pageSize");
    check("pageToken=nonsense", 400, "pageToken");
    check("filter=nme%3Dx", 400, "filter: Dataset has no field \"nme\"");
    check(
        "filter=state%3DDONE",
        400,
        "state has no value \"DONE\"; it has STATE_UNSPECIFIED, UPLOADING, READY",
    );
    check("filter=example_count%3Dmany", 400, "example_count takes a whole number");
    check("filter=(name%3Dx", 400, "filter: expected \")\" at the end");
    check("orderBy=size", 400, "orderBy: Dataset has no field \"size\"");
    check("orderBy=name%20up", 400, "orderBy");
    check("orderBy=status", 400, "cannot be sorted by");
    check("readMask=nothing", 400, "readMask");
    assert_eq!(server.get("/v1/accounts/default/datasets?pageSize=1000000").status, 200);
}

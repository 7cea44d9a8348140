//! The model list.

use std::collections::BTreeSet;

use serde_json::json;

use super::{BASE, FOREIGN, TUNED, answer, body, server};
use crate::{deployed_model, deployment};

#[test]
fn the_list_has_the_catalogue_and_the_callers_models() {
    let server = server();
    let entry = |id: &str, owner: &str, kind: &str| {
        json!({
            "id": id, "object": "model", "created": 1_700_000_000, "owned_by": owner, "kind": kind,
            "supports_chat": true, "supports_image_input": false, "supports_tools": false,
            "context_length": 512,
        })
    };
    let base = entry(BASE, "fireworks", "HF_BASE_MODEL");
    let own = json!({"object": "list", "data": [base, entry(TUNED, "default", "HF_PEFT_ADDON")]});
    assert_eq!(server.get("/v1/models").ok(), own);
    assert_eq!(server.get("/inference/v1/models").ok(), own);
    let key = server.account("other");
    let theirs = json!({"object": "list", "data": [base, entry(FOREIGN, "other", "HF_PEFT_ADDON")]});
    assert_eq!(server.send_as(Some(&key), "GET", "/v1/models", b"").ok(), theirs);
    assert_eq!(server.send_as(None, "GET", "/v1/models", b"").status, 401);
}

#[test]
fn a_model_is_read_by_every_name_that_chats_take() {
    let server = server();
    let listed = server.get("/v1/models").ok();
    let tuned = &listed["data"][1];
    assert_eq!(tuned["id"], TUNED);
    let deployed = "accounts/default/deployedModels/tuned";
    let on = format!("{TUNED}#accounts/default/deployments/local");
    let expect = answer(server.post("/v1/chat/completions", &body(TUNED, json!({}))));
    for name in [TUNED, deployed, &on] {
        let path = format!("/models/{}", name.replace('#', "%23"));
        for prefix in ["/v1", "/inference/v1"] {
            assert_eq!(&server.get(&format!("{prefix}{path}")).ok(), tuned, "{name}");
        }
        assert_eq!(
            &server.get(&path.replace('/', "%2F").replacen("%2Fmodels%2F", "/v1/models/", 1)).ok(),
            tuned
        );
        assert_eq!(answer(server.post("/v1/chat/completions", &body(name, json!({})))), expect, "{name}");
    }
    // A base of the catalogue on the account's own deployment, and on the catalogue's.
    for account in ["default", "fireworks"] {
        let name = format!("{BASE}#accounts/{account}/deployments/local");
        assert!(!answer(server.post("/v1/chat/completions", &body(&name, json!({})))).is_empty());
    }
    let key = server.account("other");
    let read = |name: &str| {
        let path = format!("/v1/models/{}", name.replace('#', "%23"));
        let reply = server.send_as(Some(&key), "GET", &path, b"");
        let text = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        (reply.status, text)
    };
    let foreign = format!("{FOREIGN}#accounts/default/deployments/local");
    let unknown = format!("{FOREIGN}#accounts/other/deployments/none");
    for name in [TUNED, &on, &foreign, &unknown, "accounts/other/deployments/local", "nothing"] {
        let expect = format!("model not found, inaccessible, and/or not deployed: {name}");
        assert_eq!(read(name), (404, expect));
    }
    assert_eq!(server.send_as(None, "GET", &format!("/v1/models/{BASE}"), b"").status, 401);
}

#[test]
fn what_an_account_has_deployed_is_listed_and_answers_by_these_names() {
    let server = server();
    // Besides the two models, in any order: a part of the names is random.
    let deployed = || -> BTreeSet<String> {
        let listed = server.get("/v1/models").ok();
        let entries = listed["data"].as_array().unwrap().iter().skip(2);
        entries.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    let path = "/v1/accounts/default/deployments/here";
    deployment::deployed(&server, "here", BASE);
    let loaded = deployed_model::load(&server, TUNED, "here").ok()["name"].as_str().unwrap().to_owned();
    let alone = deployed_model::load(&server, TUNED, "").ok()["name"].as_str().unwrap().to_owned();
    let on = format!("{BASE}#accounts/default/deployments/here");
    assert_eq!(deployed(), BTreeSet::from([on.clone(), alone.clone(), loaded.clone()]));
    // The adapter on the deployment is a name that chats take too; the list has one for each.
    let tuned_on = format!("{TUNED}#accounts/default/deployments/here");
    for (name, owner) in
        [(&on, "fireworks"), (&loaded, "default"), (&alone, "default"), (&tuned_on, "default")]
    {
        let read = server.get(&format!("/v1/models/{}", name.replace('#', "%23"))).ok();
        assert_eq!((&read["id"], &read["owned_by"]), (&json!(name), &json!(owner)));
        assert!(!answer(server.post("/v1/chat/completions", &body(name, json!({})))).is_empty());
    }
    // A deployment that sleeps is woken by a request, so it stays; one that may have no replica does not.
    server.send("PATCH", &format!("{path}:scale"), br#"{"replicaCount": 0}"#).ok();
    assert_eq!(deployed(), BTreeSet::from([on, alone.clone(), loaded]));
    server.send("PATCH", path, br#"{"maxReplicaCount": 0}"#).ok();
    assert_eq!(deployed(), BTreeSet::from([alone]));
}

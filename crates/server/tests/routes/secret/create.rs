//! `POST /v1/accounts/{account}/secrets`.

use hearth_proto::gateway as pb;
use hearth_proto::gateway::gateway_client::GatewayClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use super::{SECRETS, VALUE, made, without_value};
use crate::server::Server;

#[test]
fn the_value_goes_in_and_stays() {
    let server = Server::start();
    let reply = without_value(made(&server, "s3")).ok();
    assert_eq!(reply, json!({"name": "accounts/default/secrets/s3", "keyName": "S3_KEY", "value": ""}));
    let again = without_value(made(&server, "accounts/default/secrets/s3")).error();
    assert_eq!(again, (409, 6, "secret accounts/default/secrets/s3 exists already".to_owned()));
    let wrapped = json!({"secret": {"name": "wrapped", "key_name": "K", "value": VALUE}});
    assert_eq!(without_value(server.post(SECRETS, &wrapped)).ok()["keyName"], "K");
    let absent =
        server.post("/v1/accounts/nobody/secrets", &json!({"name": "s", "keyName": "K", "value": VALUE}));
    assert_eq!(without_value(absent).error().1, 5);
    let dir = server.stop();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(7).any(|part| part == b"hunter2"), "{}", path.display());
        }
    }
}

#[test]
fn what_is_wrong_is_named_without_the_value() {
    let server = Server::start();
    let check = |body: Value, expect: &str| {
        let (status, code, message) = without_value(server.post(SECRETS, &body)).error();
        assert_eq!((status, code, message.as_str()), (400, 3, expect));
    };
    check(json!({"keyName": "K", "value": VALUE}), "secret.name: is required");
    check(json!({"name": "s", "value": VALUE}), "secret.keyName: is required");
    check(json!({"name": "s", "keyName": "K"}), "secret.value: is required");
    check(json!({"name": "s", "keyName": "a\nb", "value": VALUE}), "secret.keyName: has a control character");
    check(
        json!({"name": "s", "keyName": "K", "value": VALUE.repeat(6000)}),
        "secret.value: is longer than 65536 bytes",
    );
    check(
        json!({"name": "accounts/other/secrets/s", "keyName": "K", "value": VALUE}),
        "secret.name: is not a secret of account default, in which it would be made",
    );
    check(
        json!({"name": "S", "keyName": "K", "value": VALUE}),
        "secret.name: secret id \"S\" has 'S'; only lower-case letters, digits and hyphens are allowed",
    );
    // What the parser would repeat.
    let refused = |body: &str| {
        let reply = without_value(server.send("POST", SECRETS, body.as_bytes()));
        assert_eq!((reply.status, reply.error().1), (400, 3), "{body}");
        reply.error().2
    };
    let message = refused(r#"{"name": "s", "value": {"x": "hunter2"}}"#);
    assert!(message.contains("a value that is never sent back is not of its type at line 1"), "{message}");
    refused(r#"{"name": "s", "value": ["hunter2"]}"#);
    refused(r#""hunter2""#);
    refused(r#"{"secret": "hunter2"}"#);
    refused(r#"{"secret": {"name": "s", "value": true, "x": "hunter2"}, "hunter2"#);
    refused(r#"{"name": "s", "value": "hunter2" "hunter2"}"#);
    let message = refused(r#"{"name": 5, "value": "hunter2"}"#);
    assert!(message.contains("invalid type: integer `5`"), "{message}");
    assert_eq!(server.get(SECRETS).ok()["totalSize"], 0);
}

#[test]
fn over_grpc_too() {
    let server = Server::start();
    server.runtime().block_on(async {
        let mut client = GatewayClient::connect(server.base.clone()).await.unwrap();
        let with_key = |message| {
            let mut request = Request::new(message);
            request.metadata_mut().insert("x-api-key", server.key.parse().unwrap());
            request
        };
        let create = |id: &str| pb::CreateSecretRequest {
            parent: "accounts/default".to_owned(),
            secret: Some(pb::Secret {
                name: id.to_owned(),
                key_name: "K".to_owned(),
                value: VALUE.to_owned(),
            }),
        };
        let secret = client.create_secret(with_key(create("s"))).await.unwrap().into_inner();
        assert_eq!((secret.name.as_str(), secret.value.as_str()), ("accounts/default/secrets/s", ""));
        let again = client.create_secret(with_key(create("s"))).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists);
        assert!(!format!("{again:?}").contains("hunter2"));
    });
}

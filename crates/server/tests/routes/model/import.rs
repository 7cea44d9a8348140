//! `POST .../models/{model}:import`, from a service on this machine.

use std::path::Path;

use hearth_server::S3Endpoint;
use serde_json::{Value, json};

use super::fake_s3::{BUCKET, FakeS3, KEY_ID};
use crate::server::{Reply, Server};
use crate::supervised_fine_tuning_job::checkpoints::until;
use crate::tiny;

const MODEL: &str = "/v1/accounts/default/models/m";
/// The secret of the access key.
const SECRET: &str = "hush/hush+EXAMPLEKEY";
/// Bytes that are asked for at once.
const RANGE: usize = 8 << 20;

fn start(s3: &FakeS3, dir: tempfile::TempDir) -> Server {
    let reply = dir.path().join("reply.json");
    let rendered = json!({"rendered": {
        "prompt": "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", "answer": "x<|im_end|>\n"
    }});
    std::fs::write(&reply, rendered.to_string()).unwrap();
    Server::start_with(dir, |config| {
        config.storage.s3 = Some(S3Endpoint::new(&s3.url, "us-east-1").unwrap());
        config.render_command = Some(vec!["/bin/cat".into(), reply.into()]);
    })
}

/// A server, and a bucket with a base in a folder.
fn server() -> (Server, FakeS3) {
    let s3 = FakeS3::start();
    let files = tempfile::tempdir().unwrap();
    tiny::write_base(&files.path().join("base"), 1);
    s3.put_dir("team/base", &files.path().join("base"));
    s3.put("team/base-2/config.json", "{}");
    let server = start(&s3, tempfile::tempdir().unwrap());
    create(&server, "m");
    (server, s3)
}

fn create(server: &Server, id: &str) {
    let body = json!({"modelId": id, "model": {"kind": "HF_BASE_MODEL", "displayName": "Mine"}});
    server.post("/v1/accounts/default/models", &body).ok();
}

fn import(server: &Server, more: Value) -> Reply {
    let mut source = json!({
        "s3Bucket": BUCKET, "s3Path": "team/base", "accessKeyId": KEY_ID, "accessSecret": SECRET,
    });
    source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("{MODEL}:import"), &json!({"awsS3Source": source}))
}

/// The operation at its end.
fn ended(server: &Server, begun: Reply) -> Value {
    let operation = begun.ok();
    let name = operation["name"].as_str().unwrap().to_owned();
    until(server, &format!("/v1/{name}"), |operation| operation["done"] == true)
}

fn answer(server: &Server) -> String {
    let body = json!({
        "model": "accounts/default/models/m", "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0, "max_tokens": 8,
    });
    let reply = server.post("/v1/chat/completions", &body).ok();
    reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// Whether any file below a directory holds this text.
fn is_anywhere(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_anywhere(&path, text);
        }
        std::fs::read(&path).unwrap_or_default().windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn a_folder_becomes_a_model_that_answers() {
    let (server, s3) = server();
    // The largest file comes in two pieces.
    s3.break_off("team/base/model.safetensors", 1);
    let done = ended(&server, import(&server, json!({})));
    assert_eq!(done.get("error"), None, "{done}");
    assert_eq!(done["response"]["@type"], "type.googleapis.com/gateway.Model");
    assert_eq!(done["response"]["state"], "READY");
    let model = server.get(MODEL).ok();
    assert_eq!((&model["state"], &model["displayName"]), (&json!("READY"), &json!("Mine")));
    assert_eq!(model["importedFrom"], format!("s3://{BUCKET}/team/base"));
    assert!(!answer(&server).is_empty());
    let seen = s3.seen();
    assert!(seen.iter().all(|one| one.authorization.is_some()), "{seen:?}");
    assert!(!seen.iter().any(|one| one.target.contains("base-2")), "{seen:?}");
    let of_weights: Vec<u64> = seen
        .iter()
        .filter(|one| one.target.contains("model.safetensors"))
        .filter_map(|one| one.first)
        .collect();
    assert!(of_weights.len() == 2 && of_weights[0] == 0 && of_weights[1] > 0, "{of_weights:?}");
    // Nothing that was sent in confidence stays, and nothing that was copied.
    assert!(!is_anywhere(server.dir.path(), SECRET));
    assert!(!server.dir.path().join("uploads/default/m").exists());
    // It is READY and stays as it is.
    assert_eq!(import(&server, json!({})).error().1, 9);
}

#[test]
fn a_public_bucket_is_asked_without_a_signature() {
    let (server, s3) = server();
    s3.open_to_all();
    let done = ended(
        &server,
        import(&server, json!({"accessKeyId": "", "accessSecret": "", "s3Path": "/team/base/"})),
    );
    assert_eq!(done["response"]["state"], "READY", "{done}");
    assert!(s3.seen().iter().all(|one| one.authorization.is_none()));
}

#[test]
fn a_secret_of_the_account_opens_the_bucket() {
    let (server, s3) = server();
    let secret = |id: &str, value: &str| {
        let body =
            json!({"name": format!("accounts/default/secrets/{id}"), "keyName": "AWS", "value": value});
        server.post("/v1/accounts/default/secrets", &body).ok();
    };
    secret("plain", SECRET);
    secret("both", &json!({"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}).to_string());
    secret("half", &json!({"aws_access_key_id": KEY_ID}).to_string());
    let name = |id: &str| format!("accounts/default/secrets/{id}");
    let done = ended(&server, import(&server, json!({"accessSecret": name("half")})));
    assert_eq!(done["error"]["code"], 9, "{done}");
    let done = ended(&server, import(&server, json!({"accessKeyId": "", "accessSecret": name("plain")})));
    assert_eq!(done["error"]["code"], 9, "{done}");
    assert!(s3.seen().is_empty());
    let done = ended(&server, import(&server, json!({"accessKeyId": "", "accessSecret": name("both")})));
    assert_eq!(done["response"]["state"], "READY", "{done}");
    server.delete(MODEL).ok();
    create(&server, "m");
    let done = ended(&server, import(&server, json!({"accessSecret": name("plain")})));
    assert_eq!(done["response"]["state"], "READY", "{done}");
    server.delete(MODEL).ok();
    create(&server, "m");
    assert_eq!(import(&server, json!({"accessSecret": name("none")})).error().1, 5);
    assert_eq!(import(&server, json!({"accessSecret": "accounts/other/secrets/plain"})).error().1, 3);
}

#[test]
fn what_goes_wrong_stands_in_the_operation() {
    let (server, s3) = server();
    let check = |more: Value, code: i64, part: &str| {
        let done = ended(&server, import(&server, more.clone()));
        assert_eq!((&done["error"]["code"], done.get("response")), (&json!(code), None), "{more}: {done}");
        let message = done["error"]["message"].as_str().unwrap();
        assert!(message.contains(part) && !message.contains(KEY_ID), "{message}");
        assert_eq!(server.get(MODEL).ok()["state"], "UPLOADING");
    };
    check(json!({"s3Path": "team/none"}), 5, "no files");
    check(json!({"s3Bucket": "another-bucket"}), 5, "no such bucket");
    check(json!({"accessKeyId": "OTHER"}), 7, "does not let this access key");
    s3.put("pickled/pytorch_model.bin", "x");
    s3.put("pickled/config.json", "{}");
    check(json!({"s3Path": "pickled"}), 3, "is a pickle");
    s3.put("deep/a/b/c.txt", "x");
    check(json!({"s3Path": "deep"}), 3, "a/b/c.txt");
    s3.put("wrong/config.json", "{}");
    check(json!({"s3Path": "wrong"}), 3, "tokenizer.json");
    let status = server.get(MODEL).ok()["status"].clone();
    assert_eq!(status["code"], "INVALID_ARGUMENT");
    // A file that changes between the list and the copy.
    s3.hold("team/base/config.json", 0);
    let begun = import(&server, json!({}));
    s3.until_held();
    assert_eq!(import(&server, json!({})).error().1, 9);
    s3.put("team/base/config.json", "{}");
    s3.release();
    assert_eq!(ended(&server, begun)["error"]["code"], 10);
    // A service that does not answer any more.
    s3.refuse(503, "SlowDown");
    check(json!({}), 14, "cannot be reached");
}

#[test]
fn a_server_that_starts_goes_on_where_the_last_one_was() {
    let (server, s3) = server();
    // Three ranges; the last one waits.
    let notes: Vec<u8> = (0..RANGE * 2 + 1000).map(|i| (i % 251) as u8).collect();
    s3.put("team/base/notes.txt", notes.clone());
    s3.hold("team/base/notes.txt", (RANGE * 2) as u64);
    let operation = import(&server, json!({})).ok();
    let path = format!("/v1/{}", operation["name"].as_str().unwrap());
    s3.until_held();
    until(&server, &path, |operation| {
        operation["metadata"]["statusMessage"].as_str().unwrap().starts_with("copied ")
    });
    assert!(!is_anywhere(server.dir.path(), SECRET));
    let dir = server.stop();
    s3.forget_seen();
    s3.release();
    let server = start(&s3, dir);
    let done = until(&server, &path, |operation| operation["done"] == true);
    assert_eq!(done["response"]["state"], "READY", "{done}");
    // Only what was missing is asked for.
    let again: Vec<(String, Option<u64>)> =
        s3.seen().into_iter().map(|one| (one.target, one.first)).collect();
    assert_eq!(again, [(format!("/{BUCKET}/team/base/notes.txt"), Some((RANGE * 2) as u64))]);
    let kept = std::fs::read(server.dir.path().join("models/default/m/notes.txt")).unwrap();
    assert!(kept == notes);
    assert!(!answer(&server).is_empty());
}

#[test]
fn a_model_that_is_deleted_meanwhile_stays_deleted() {
    let (server, s3) = server();
    s3.hold("team/base/config.json", 0);
    let begun = import(&server, json!({}));
    s3.until_held();
    server.delete(MODEL).ok();
    create(&server, "m");
    s3.release();
    let done = ended(&server, begun);
    assert!([5, 9].contains(&done["error"]["code"].as_i64().unwrap()), "{done}");
    assert_eq!(server.get(MODEL).ok()["state"], "UPLOADING");
    assert!(!server.dir.path().join("uploads/default/m/files/config.json").exists());
}

#[test]
fn what_cannot_be_done_is_refused_at_once() {
    let (server, s3) = server();
    let check = |more: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = import(&server, more.clone()).error();
        assert_eq!((status, code), expect, "{more}: {message}");
        assert!(message.contains(part), "{message}");
    };
    let role = "arn:aws:iam::123456789012:role/r";
    check(json!({"roleArn": role}), (400, 3), "does not go with accessKeyId");
    let alone = |arn: &str| json!({"roleArn": arn, "accessKeyId": "", "accessSecret": ""});
    check(alone("arn:aws:iam::1:role/r"), (400, 3), "roleArn");
    check(alone(role), (400, 9), "--aws-web-identity-token-file");
    for bucket in ["", "ab", "Upper", "a/b", "a..b", "-ab", "ab-", "a b", "a@b", &"x".repeat(64)] {
        check(json!({"s3Bucket": bucket}), (400, 3), "s3Bucket");
    }
    for path in ["a//b", "../a", "a/./b"] {
        check(json!({"s3Path": path}), (400, 3), "s3Path");
    }
    check(json!({"accessKeyId": ""}), (400, 3), "accessKeyId");
    check(json!({"accessSecret": ""}), (400, 3), "accessSecret");
    check(json!({"accessSecret": "a\nb"}), (400, 3), "accessSecret");
    let (status, code, message) = server.post(&format!("{MODEL}:import"), &json!({})).error();
    assert!((status, code) == (400, 3) && message.contains("awsS3Source"), "{message}");
    server.delete(MODEL).ok();
    check(json!({}), (404, 5), "models/m");
    assert!(s3.seen().is_empty());
    for (url, region) in
        [("ftp://h", "r"), ("http://u@h", "r"), ("http://h/p", "r"), ("h", "r"), ("http://h", "R")]
    {
        assert!(S3Endpoint::new(url, region).is_err(), "{url} {region}");
    }
}

//! The log line of each request, and the id by which it is found.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};
use tonic::{Code, Request};
use tracing_subscriber::fmt::MakeWriter;

use crate::server::{Server, rows};

/// The log of this process, as JSON lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let made = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter("info,hearth_server=trace,hearth_store=trace,sqlx=trace,tonic=trace")
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::set_global_default(made).unwrap();
        log
    })
}

/// The line of the request with this id; the server writes it when the answer has gone out, so perhaps a little later
/// than the client reads it.
fn line(id: &str) -> Value {
    for _ in 0..500 {
        let text = String::from_utf8(log().0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = lines.filter(|line| line["request_id"] == id && line["message"] == "request");
        if let Some(found) = found.next() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the log has no line of request {id}");
}

fn key_id(server: &Server) -> String {
    let reply = server.get("/verifyApiKey");
    line(&reply.headers["x-request-id"])["key_id"].as_str().unwrap().to_owned()
}

#[test]
fn one_line_says_who_asked_for_what() {
    log();
    let server = Server::start();
    let key_id = key_id(&server);
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "rows"})).ok();
    let reply = server.get("/v1/accounts/default/datasets/rows?readMask=name");
    let found = line(&reply.headers["x-request-id"]);
    let expect = json!({
        "face": "rest", "method": "GET", "route": "/v1/{name=accounts/*/datasets/*}", "status": 200,
        "account": "default", "key_id": key_id, "bytes_in": 0, "bytes_out": reply.body.len(), "is_cut_off": false,
    });
    for (field, value) in expect.as_object().unwrap() {
        assert_eq!(&found[field], value, "{field} of {found}");
    }
    assert!(found["elapsed_ms"].as_f64().unwrap() > 0.0);

    let files = json!({"filenameToSize": {"a.jsonl": 0}});
    let urls = server.post("/v1/accounts/default/datasets/rows:getUploadEndpoint", &files).ok();
    let url = urls["filenameToSignedUrls"]["a.jsonl"].as_str().unwrap();
    let reply = server.request(&[], "PUT", url, rows().as_bytes());
    let found = line(&reply.headers["x-request-id"]);
    // A signed URL speaks for the key that asked for it.
    assert_eq!((&found["account"], &found["key_id"]), (&json!("default"), &json!(key_id)));
    assert_eq!(found["route"], "/signed/datasets/{account}/{dataset}/{file}");
    assert_eq!(found["bytes_in"], rows().len());

    let stranger = server.send_as(Some("fw_wrong-key"), "GET", "/v1/models", b"");
    let found = line(&stranger.headers["x-request-id"]);
    assert_eq!(
        (&found["face"], &found["status"], found.get("account")),
        (&json!("inference"), &json!(401), None)
    );

    let text = String::from_utf8(log().0.lock().unwrap().clone()).unwrap();
    for secret in [server.key.as_str(), "fw_wrong-key", "signature=", "answer 1"] {
        assert!(!text.contains(secret), "the log holds {secret}");
    }
}

#[test]
fn grpc_calls_have_their_code_and_id() {
    log();
    let server = Server::start();
    let error = server.runtime().block_on(async {
        use hearth_proto::gateway as pb;
        let mut client = pb::gateway_client::GatewayClient::connect(server.base.clone()).await.unwrap();
        let mut request = Request::new(pb::GetDatasetRequest {
            name: "accounts/default/datasets/none".to_owned(),
            ..pb::GetDatasetRequest::default()
        });
        request.metadata_mut().insert("x-api-key", server.key.parse().unwrap());
        request.metadata_mut().insert("x-request-id", "grpc-call.1".parse().unwrap());
        client.get_dataset(request).await.unwrap_err()
    });
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.metadata().get("x-request-id").unwrap(), "grpc-call.1");
    assert!(String::from_utf8_lossy(error.details()).contains("google.rpc.RequestInfo"));
    assert!(String::from_utf8_lossy(error.details()).contains("grpc-call.1"));
    let found = line("grpc-call.1");
    let expect = json!({
        "face": "grpc", "method": "POST", "route": "/gateway.Gateway/GetDataset", "status": 200,
        "grpc_code": "NOT_FOUND", "account": "default",
    });
    for (field, value) in expect.as_object().unwrap() {
        assert_eq!(&found[field], value, "{field} of {found}");
    }
}

#[test]
fn a_clients_own_id_is_taken_over_if_it_is_plain() {
    let server = Server::start();
    let id = |given: &str| {
        let reply = server.request(&[("x-request-id", given)], "GET", "/v1/accounts/default", b"");
        let id = reply.headers["x-request-id"].clone();
        assert_eq!(reply.json()["details"][0]["requestId"], id);
        id
    };
    for good in ["a", "Job_7.step-3", &"x".repeat(64)] {
        assert_eq!(id(good), good);
    }
    for bad in ["", "a b", "a\"b", "a/b", "ä", &"x".repeat(65)] {
        assert_eq!(id(bad).len(), 16, "{bad}");
        assert_ne!(id(bad), bad);
    }
}

/// Not even in the most talkative log, and not of calls that are refused.
#[test]
fn values_of_secrets_are_not_logged() {
    log();
    let server = Server::start();
    let secrets = "/v1/accounts/default/secrets";
    for body in [
        json!({"name": "s", "keyName": "K", "value": "hunter2-logged"}),
        json!({"name": "s", "keyName": "K", "value": "hunter2-logged"}),
        json!({"name": "hunter", "keyName": "\n", "value": "hunter2-logged"}),
        json!({"name": "s", "value": ["hunter2-logged"]}),
    ] {
        let reply = server.post(secrets, &body);
        assert!([200, 400, 409].contains(&reply.status), "{}", reply.status);
        line(&reply.headers["x-request-id"]);
    }
    let text = String::from_utf8(log().0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("INSERT INTO secret"), "the database's statements are in the log");
    assert!(!text.contains("hunter2-logged"));
}

//! `POST /v1/accounts/{account}/datasetValidationJobs`.

use hearth_domain::{
    AccountId, DatasetId, DatasetRef, DatasetValidationFormat, DatasetValidationJob, DatasetValidationJobId,
    DatasetValidationState, Status,
};
use hearth_store::Store;
use serde_json::{Value, json};

use super::{JOBS, wait};
use crate::dataset::render_preview::install;
use crate::dataset::upload_files;
use crate::server::Server;
use crate::snapshot;

fn create(server: &Server, body: Value) -> Value {
    let job = server.post(JOBS, &body).ok();
    wait(server, job["name"].as_str().unwrap())
}

#[test]
fn good_rows_are_a_success() {
    let server = Server::start();
    server.ready_dataset("rows");
    let path = format!("{JOBS}?datasetValidationJobId=first");
    let body =
        json!({"datasetName": "rows", "format": "DATASET_VALIDATION_FORMAT_CHAT", "displayName": "First"});
    let made = server.post(&path, &body).ok();
    assert_eq!(made["name"], "accounts/default/datasetValidationJobs/first");
    assert_eq!(server.post(&path, &body).error().1, 6);
    wait(&server, "accounts/default/datasetValidationJobs/first");
    snapshot!(server.get(&format!("{JOBS}/first")));
    // The wrapped form, and an id of the server.
    let wrapped = json!({"datasetValidationJob": body});
    assert_eq!(create(&server, wrapped)["result"], "DATASET_VALIDATION_JOB_RESULT_SUCCESS");
}

#[test]
fn bad_rows_are_named() {
    let server = Server::start();
    server.ready_dataset("rows");
    let question = r#"{"messages": [{"role": "user", "content": "q"}]}"#;
    upload_files(&server, "open", &[("a.jsonl", question.as_bytes()), ("b.jsonl", b"{\n")]);
    let job = |format: &str| {
        let names = ["rows", "accounts/default/datasets/open"];
        let format = format!("DATASET_VALIDATION_FORMAT_{format}");
        create(&server, json!({"datasetNames": names, "format": format}))
    };
    let chat = job("CHAT");
    assert_eq!(
        (&chat["state"], &chat["result"]),
        (&json!("JOB_STATE_COMPLETED"), &json!("DATASET_VALIDATION_JOB_RESULT_FAILURE"))
    );
    assert_eq!(
        chat["validationError"],
        "open/dataset: the file has 2 rows; a dataset needs at least 3 rows\n\
         open/a.jsonl:1: /messages: no message is from the assistant, so there is nothing to learn; add the answer\n\
         open/b.jsonl:1: invalid JSON at column 1: the line ends too early; write the whole JSON object on one line"
    );
    assert_eq!(chat["datasetNames"].as_array().unwrap().len(), 2);
    let relaxed = job("CHAT_RELAXED");
    assert_eq!(
        relaxed["validationError"],
        "open/b.jsonl:1: invalid JSON at column 1: the line ends too early; write the whole JSON object on one line"
    );
    // A check changes nothing.
    assert_eq!(server.get("/v1/accounts/default/datasets/open").ok()["state"], "UPLOADING");
    let row = format!(r#"{{"custom_id": "1", "body": {question}}}"#);
    upload_files(&server, "requests", &[("a.jsonl", row.as_bytes())]);
    for format in ["BATCH_INFERENCE", "BATCH_INFERENCE_STRICT", "BATCH_INFERENCE_ALLOW_TRAILING_ASSISTANT"] {
        let format = format!("DATASET_VALIDATION_FORMAT_{format}");
        let job = create(&server, json!({"datasetName": "requests", "format": format}));
        assert_eq!(job["result"], "DATASET_VALIDATION_JOB_RESULT_SUCCESS", "{job}");
        let job = create(&server, json!({"datasetName": "rows", "format": format}));
        assert_eq!(job["result"], "DATASET_VALIDATION_JOB_RESULT_FAILURE", "{job}");
    }
}

#[test]
fn reports_say_what_rows_are_like() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let server = Server::start_in(dir);
    let row = |question: &str, answer: &str| {
        json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
            .to_string()
    };
    let long = "word ".repeat(400);
    let rows = [row("q", "a"), row("r", "b"), row("s", ""), row("q", "a"), row("t", &long), "[]".to_owned()];
    upload_files(&server, "mixed", &[("rows.jsonl", rows.join("\n").as_bytes())]);
    let report = |more: Value| {
        let mut body = json!({"datasetName": "mixed", "format": "DATASET_VALIDATION_FORMAT_CHAT"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let job = create(&server, body);
        assert_eq!(job["result"], "DATASET_VALIDATION_JOB_RESULT_FAILURE", "{job}");
        job["reports"][0].clone()
    };
    let codes = |findings: &Value| -> Vec<(String, String)> {
        let one = |finding: &Value| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            assert!(!text("message").is_empty() && !text("fix").is_empty() && text("file") == "rows.jsonl");
            (text("line"), text("code"))
        };
        findings.as_array().unwrap().iter().map(one).collect()
    };
    let at = |line: &str, code: &str| (line.to_owned(), code.to_owned());
    let plain = report(json!({}));
    assert_eq!((&plain["dataset"], &plain["rows"]), (&json!("accounts/default/datasets/mixed"), &json!("6")));
    assert_eq!(codes(&plain["errors"]), [at("6", "wrong_type")]);
    assert_eq!(codes(&plain["warnings"]), [at("3", "empty_answer"), at("4", "duplicate_row")]);
    assert_eq!((&plain["errorCount"], &plain["warningCount"]), (&json!("1"), &json!("2")));
    assert_eq!(plain["statistics"]["good_rows"], 5.0);
    assert_eq!(plain["statistics"]["tokens"], Value::Null);
    // With a base, rows are tried and counted.
    let counted = report(json!({"baseModel": "words"}));
    assert!(codes(&counted["warnings"]).contains(&at("5", "too_long")), "{counted}");
    assert!(counted["statistics"]["tokens"]["tokens"].as_f64().unwrap() > 0.0, "{counted}");
    // What is remarkable about a good dataset stands in its status.
    upload_files(&server, "good", &[("rows.jsonl", rows[..4].join("\n").as_bytes())]);
    server.post("/v1/accounts/default/datasets/good:validateUpload", &json!({})).ok();
    let good = server.get("/v1/accounts/default/datasets/good").ok();
    assert_eq!((&good["state"], &good["status"]["code"]), (&json!("READY"), &json!("OK")));
    let message = good["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("2 warnings: rows.jsonl:3: /messages/1"), "{message}");
}

#[test]
fn rows_of_every_format_have_a_report() {
    let server = Server::start();
    let row = r#"{"prompt": "p", "completion": "c"}"#;
    upload_files(&server, "prompts", &[("a.jsonl", [row; 3].join("\n").as_bytes())]);
    let job = |format: &str| {
        let format = format!("DATASET_VALIDATION_FORMAT_{format}");
        let job = create(&server, json!({"datasetName": "prompts", "format": format}));
        let report = &job["reports"][0];
        (job["result"].as_str().unwrap().to_owned(), report["rows"].clone(), report["errorCount"].clone())
    };
    let result = |result: &str| format!("DATASET_VALIDATION_JOB_RESULT_{result}");
    assert_eq!(job("TRAINING"), (result("SUCCESS"), json!("3"), json!("0")));
    assert_eq!(job("CHAT"), (result("FAILURE"), json!("3"), json!("1")));
}

#[test]
fn wrong_requests_are_refused() {
    let server = Server::start();
    server.ready_dataset("rows");
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "empty"})).ok();
    let chat = "DATASET_VALIDATION_FORMAT_CHAT";
    let check = |body: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = server.post(JOBS, &body).error();
        assert_eq!((status, code), expect, "{body}: {message}");
        assert!(message.contains(part), "{message}");
    };
    check(json!({}), (400, 3), "format: is required");
    let relaxed = "DATASET_VALIDATION_FORMAT_CHAT_RELAXED";
    check(
        json!({"datasetName": "rows", "format": relaxed, "baseModel": "tiny"}),
        (400, 3),
        "baseModel: goes with",
    );
    check(json!({"datasetName": "rows", "format": chat, "baseModel": "gone"}), (404, 5), "baseModel");
    check(json!({"datasetName": "rows"}), (400, 3), "format");
    check(json!({"datasetName": "rows", "format": "DATASET_VALIDATION_FORMAT_RLOR"}), (501, 12), "format");
    check(json!({"format": chat}), (400, 3), "datasetName");
    check(json!({"datasetName": "rows", "datasetNames": ["rows"], "format": chat}), (400, 3), "datasetNames");
    check(json!({"datasetNames": ["rows", "rows"], "format": chat}), (400, 3), "twice");
    check(json!({"datasetNames": vec!["rows"; 21], "format": chat}), (400, 3), "21 names");
    check(json!({"datasetName": "../x", "format": chat}), (400, 3), "datasetName");
    check(json!({"datasetName": "gone", "format": chat}), (404, 5), "gone");
    check(json!({"datasetName": "empty", "format": chat}), (400, 9), "no files");
    check(json!({"datasetName": "rows", "format": chat, "rewards": ["x"]}), (501, 12), "rewards");
    check(json!({"datasetName": "rows", "format": chat, "customImageTag": "x"}), (501, 12), "customImageTag");
    check(
        json!({"datasetName": "rows", "format": chat, "displayName": "x".repeat(64)}),
        (400, 3),
        "displayName",
    );
    let id = format!("{JOBS}?datasetValidationJobId=9");
    assert_eq!(server.post(&id, &json!({"datasetName": "rows", "format": chat})).error().1, 3);
    // The rows of another account are nobody's business.
    let key = server.account("acme");
    let body = json!({"datasetName": "accounts/default/datasets/rows", "format": chat}).to_string();
    let path = "/v1/accounts/acme/datasetValidationJobs";
    assert_eq!(server.send_as(Some(&key), "POST", path, body.as_bytes()).error().1, 7);
}

#[test]
fn a_server_goes_on_with_what_another_left() {
    let server = Server::start();
    server.ready_dataset("rows");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = server.stop();
    let account = AccountId::new("default").unwrap();
    let left = |id: &str, state, dataset: &str| DatasetValidationJob {
        base_model: None,
        reports: vec![],
        account: account.clone(),
        id: DatasetValidationJobId::new(id).unwrap(),
        display_name: String::new(),
        datasets: vec![DatasetRef { account: account.clone(), id: DatasetId::new(dataset).unwrap() }],
        is_single: true,
        format: DatasetValidationFormat::Chat,
        state,
        status: Status::default(),
        result: None,
        validation_error: String::new(),
        created_by: String::new(),
        create_time_ms: 1,
        update_time_ms: 1,
    };
    runtime.block_on(async {
        let store = Store::open(dir.path(), 1).await.unwrap();
        store.create(&left("running", DatasetValidationState::Running, "rows")).await.unwrap();
        store.create(&left("pending", DatasetValidationState::Pending, "rows")).await.unwrap();
        store.create(&left("orphan", DatasetValidationState::Pending, "gone")).await.unwrap();
        store.close().await;
    });
    let server = Server::start_in(dir);
    for id in ["running", "pending"] {
        let job = wait(&server, &format!("accounts/default/datasetValidationJobs/{id}"));
        assert_eq!(job["result"], "DATASET_VALIDATION_JOB_RESULT_SUCCESS", "{job}");
    }
    let job = wait(&server, "accounts/default/datasetValidationJobs/orphan");
    assert_eq!(
        (&job["state"], &job["status"]["code"]),
        (&json!("JOB_STATE_FAILED"), &json!("FAILED_PRECONDITION"))
    );
    assert!(job["status"]["message"].as_str().unwrap().contains("datasets/gone"), "{job}");
}

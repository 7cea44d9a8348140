//! Batch inference over a tiny random model.

mod create;
mod delete;
mod run;

use serde_json::{Value, json};

use crate::openai::{self, BASE};
use crate::server::Server;

const JOBS: &str = "/v1/accounts/default/batchInferenceJobs";

/// Rows that ask for a few tokens; every third one is refused, because the model's context does not hold it.
fn requests(count: usize) -> String {
    (0..count)
        .map(|i| {
            let content =
                format!("question {i}{}", if i % 3 == 2 { " again".repeat(600) } else { String::new() });
            let mut body = json!({"messages": [{"role": "user", "content": content}]});
            if i % 3 == 2 {
                body["context_length_exceeded_behavior"] = "error".into();
            }
            format!("{}\n", json!({"custom_id": format!("row-{i}"), "body": body}))
        })
        .collect()
}

/// A server with models and the input dataset `requests`.
fn server(rows: usize) -> Server {
    let server = openai::server();
    server.post("/v1/accounts/default/datasets", &json!({"datasetId": "requests"})).ok();
    let path = "/v1/accounts/default/datasets/requests:upload";
    server.upload(path, "requests.jsonl", requests(rows).as_bytes()).ok();
    server
}

fn body(more: Value) -> Value {
    let mut body = json!({
        "model": BASE,
        "inputDatasetId": "requests",
        "inferenceParameters": {"maxTokens": 8, "temperature": 0},
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn create(server: &Server, id: &str, more: Value) -> Value {
    server.post(&format!("{JOBS}?batchInferenceJobId={id}"), &body(more)).ok()
}

/// Polls until the job is at its end.
fn wait(server: &Server, id: &str) -> Value {
    loop {
        let job = server.get(&format!("{JOBS}/{id}")).ok();
        if ["JOB_STATE_COMPLETED", "JOB_STATE_FAILED"].contains(&job["state"].as_str().unwrap()) {
            return job;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The lines of a file of a dataset.
fn lines(server: &Server, dataset: &str, file: &str) -> Vec<Value> {
    let urls = server.get(&format!("/v1/{dataset}:getDownloadEndpoint")).ok();
    let url = urls["filenameToSignedUrls"][file].as_str().unwrap_or_else(|| panic!("no {file}: {urls}"));
    let text = String::from_utf8(server.request(&[], "GET", url, b"").body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

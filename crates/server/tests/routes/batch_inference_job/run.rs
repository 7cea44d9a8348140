//! What a job does with its rows.

use hearth_domain::{
    AccountId, BatchInferenceJob, BatchInferenceJobId, BatchProgress, BatchState, SuspendState,
};
use hearth_store::Store;
use serde_json::json;

use super::{JOBS, create, lines, server, wait};
use crate::server::Server;

#[test]
fn every_row_is_answered_or_has_its_error() {
    let server = server(7);
    let made = create(&server, "batch", json!({}));
    assert_eq!(made["name"], "accounts/default/batchInferenceJobs/batch");
    assert_eq!(made["outputDatasetId"], "accounts/default/datasets/batch-output");
    let job = wait(&server, "batch");
    assert_eq!(job["state"], "JOB_STATE_COMPLETED", "{job}");
    let progress = &job["jobProgress"];
    assert_eq!(progress["percent"], 100);
    assert_eq!((&progress["totalInputRequests"], &progress["failedRequests"]), (&json!(7), &json!(2)));
    assert_eq!(progress["outputTokens"], 5 * 8);
    let output = job["outputDatasetId"].as_str().unwrap();
    let dataset = server.get(&format!("/v1/{output}")).ok();
    assert_eq!((&dataset["state"], &dataset["exampleCount"]), (&json!("READY"), &json!("5")));
    assert_eq!(dataset["sourceJobName"], job["name"]);
    let answers = lines(&server, output, "results.jsonl");
    let ids: Vec<&str> = answers.iter().map(|line| line["custom_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["row-0", "row-1", "row-3", "row-4", "row-6"]);
    // The same as if it had been asked alone.
    let alone = server.post(
        "/v1/chat/completions",
        &json!({"model": crate::openai::BASE, "max_tokens": 8, "temperature": 0,
                "messages": [{"role": "user", "content": "question 3"}]}),
    );
    let text = |answer: &serde_json::Value| answer["choices"][0]["message"]["content"].clone();
    assert_eq!(text(&answers[2]["response"]), text(&alone.ok()));
    let errors = lines(&server, output, "errors.jsonl");
    assert_eq!(errors[0]["custom_id"], "row-2");
    assert!(errors[0]["error"]["message"].as_str().unwrap().contains("context"), "{errors:?}");
    let listed = server.get(&format!("{JOBS}?filter=state%3DJOB_STATE_COMPLETED")).ok();
    assert_eq!(listed["batchInferenceJobs"][0]["name"], job["name"]);
    crate::list_rules::every_value_is_found(&server, JOBS);
}

#[test]
fn a_server_that_starts_again_goes_on_and_changes_nothing() {
    let whole = server(12);
    create(&whole, "batch", json!({}));
    let job = wait(&whole, "batch");
    let output = job["outputDatasetId"].as_str().unwrap();
    let expect = lines(&whole, output, "results.jsonl");

    // Stopped again and again, after the job was made and whenever a row more is done.
    let mut stopped = server(12);
    create(&stopped, "batch", json!({}));
    for _ in 0..4 {
        stopped = Server::start_in(stopped.stop());
    }
    assert_eq!(wait(&stopped, "batch")["state"], "JOB_STATE_COMPLETED");
    let found = lines(&stopped, output, "results.jsonl");
    let shown = |lines: &[serde_json::Value]| -> Vec<String> {
        lines
            .iter()
            .map(|line| format!("{} {}", line["custom_id"], line["response"]["choices"][0]["message"]))
            .collect()
    };
    assert_eq!(shown(&found), shown(&expect));
}

#[test]
fn jobs_of_a_suspended_account_wait_until_that_ends() {
    let server = server(6);
    create(&server, "first", json!({}));
    wait(&server, "first");
    let dir = server.stop();
    let account = AccountId::new("default").unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(dir.path(), 1).await.unwrap();
        let first: BatchInferenceJob = store.get(&account, "first").await.unwrap();
        let waiting = BatchInferenceJob {
            id: BatchInferenceJobId::new("waiting").unwrap(),
            state: BatchState::Pending,
            progress: BatchProgress::default(),
            ..first
        };
        store.create(&waiting).await.unwrap();
        store.account_suspend(&account, SuspendState::FailedPayments, 2).await.unwrap();
        store.close().await;
    });
    let server = Server::start_in(dir);
    let state = || server.get(&format!("{JOBS}/waiting")).ok()["state"].clone();
    assert_eq!(state(), "JOB_STATE_PENDING");
    server.post("/v1/accounts/default:unsuspend", &json!({})).ok();
    let job = wait(&server, "waiting");
    assert_eq!((&job["state"], &job["jobProgress"]["percent"]), (&json!("JOB_STATE_COMPLETED"), &json!(100)));
}

#[test]
fn a_job_goes_on_from_another_and_asks_only_what_that_could_not_answer() {
    let server = server(6);
    create(&server, "first", json!({}));
    let first = wait(&server, "first");
    let body = json!({"continuedFromJobName": first["name"]});
    server.post(&format!("{JOBS}?batchInferenceJobId=second"), &body).ok();
    let second = wait(&server, "second");
    assert_eq!(second["jobProgress"]["successfullyProcessedRequests"], 4);
    assert_eq!((&second["model"], &second["inputDatasetId"]), (&first["model"], &first["inputDatasetId"]));
    let of =
        |job: &serde_json::Value| lines(&server, job["outputDatasetId"].as_str().unwrap(), "results.jsonl");
    // Taken over with the ids that the answers had.
    assert_eq!(of(&first), of(&second));
}

//! `GET .../supervisedFineTuningJobs/{job}/events`.

use serde_json::{Value, json};

use super::checkpoints::{begin, finish, save, server};
use super::{JOBS, create};

/// Types, and what a change leads to.
fn shown(reply: &Value) -> Vec<String> {
    let one = |event: &Value| match event["stateChange"]["to"].as_str() {
        Some(to) => to.to_owned(),
        None => event["type"].as_str().unwrap().to_owned(),
    };
    reply["events"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn a_job_tells_what_happened_to_it() {
    let server = server();
    let run = begin(&server, "j");
    create(&server, "waits");
    let empty = json!({"events": [], "nextPageToken": "", "totalSize": 0});
    assert_eq!(server.get(&format!("{JOBS}/waits/events")).ok(), empty);
    assert_eq!(server.get(&format!("{JOBS}/none/events")).error().1, 5);
    save(&run, 20);
    finish(&server, &run, "j");
    let all = server.get(&format!("{JOBS}/j/events?pageSize=200")).ok();
    let expect = [
        "JOB_STATE_VALIDATING",
        "TRAINER_STARTED",
        "VALIDATED",
        "JOB_STATE_RUNNING",
        "JOB_STATE_WRITING_RESULTS",
        "TRAINED",
        "JOB_STATE_COMPLETED",
    ];
    assert_eq!(shown(&all), expect);
    let events = all["events"].as_array().unwrap();
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["sequenceNumber"], (i + 1).to_string());
        assert!(event["createTime"].as_str().unwrap().contains('T'), "{event}");
    }
    assert_eq!(
        events[2]["validation"],
        json!({"rows": "5", "samples": "5", "droppedRows": "0", "droppedLines": [], "tokensPerEpoch": "50",
               "trainedTokensPerEpoch": "20", "evaluationRows": "0", "totalSteps": "40", "carvedOutRows": "0", "droppedEvaluationRows": "0"})
    );
    assert_eq!(events[2]["message"], "5 rows are read; 40 steps are to be done");
    assert_eq!(events[6]["stateChange"]["from"], "JOB_STATE_WRITING_RESULTS");

    for order in ["", "sequence_number%20desc"] {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let path = format!("{JOBS}/j/events?pageSize=3&orderBy={order}&pageToken={token}");
            let page = server.get(&path).ok();
            assert_eq!(page["totalSize"], 7);
            pages.extend(shown(&page));
            token = page["nextPageToken"].as_str().unwrap().to_owned();
            if token.is_empty() {
                break;
            }
            // A token belongs to its job and its order.
            for other in ["waits/events?", "j/events?orderBy=sequence_number%20desc&", "j/events?"] {
                let reply = server.get(&format!("{JOBS}/{other}pageToken={token}"));
                let fits = other.starts_with("j/") && other.contains("desc") != order.is_empty();
                assert_eq!(reply.status == 200, fits, "{other} {order}");
            }
        }
        let mut expect: Vec<&str> = expect.to_vec();
        if !order.is_empty() {
            expect.reverse();
        }
        assert_eq!(pages, expect);
    }
    for wrong in ["pageSize=-1", "pageToken=x", "orderBy=create_time", "orderBy=sequence_number%20up"] {
        assert_eq!(server.get(&format!("{JOBS}/j/events?{wrong}")).error().1, 3, "{wrong}");
    }
}

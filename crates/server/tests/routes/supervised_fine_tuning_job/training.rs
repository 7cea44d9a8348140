//! Fields that say how a job trains: what is resolved, returned and refused.

use serde_json::{Value, json};

use super::{JOBS, server};

/// The fields of a job that is made, as the reply and the list have them; or the code, and a part of the message.
fn check(more: Value, expect: Result<Value, &str>) {
    let server = server();
    let mut body = json!({"dataset": "rows", "baseModel": "tiny"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = server.post(JOBS, &body);
    match expect {
        Ok(expect) => {
            let job = reply.ok();
            let listed = server.get(JOBS).ok()["supervisedFineTuningJobs"][0].clone();
            for (field, value) in expect.as_object().unwrap() {
                assert_eq!((&job[field], &listed[field]), (value, value), "{more}");
            }
        }
        Err(part) => {
            let (status, code, message) = reply.error();
            assert!((status, code) == (400, 3) && message.contains(part), "{more}: {message}");
        }
    }
}

#[test]
fn an_early_end_needs_rows_to_evaluate_on() {
    check(json!({"earlyStop": true}), Err("earlyStop: needs rows to evaluate on"));
    check(json!({"earlyStop": true, "evalAutoCarveout": true}), Ok(json!({"earlyStop": true})));
    check(json!({"earlyStop": true, "evaluationDataset": "rows"}), Ok(json!({"earlyStop": true})));
    check(json!({}), Ok(json!({"earlyStop": false, "evalAutoCarveout": false})));
}

#[test]
fn the_schedule_of_the_rate_is_resolved_and_returned() {
    check(json!({}), Ok(json!({"lrScheduler": {"constant": {}}})));
    check(json!({"lrScheduler": {"linear": {}}}), Ok(json!({"lrScheduler": {"linear": {}}})));
    check(
        json!({"lrScheduler": {"cosine": {"minLrRatio": 0.25}}}),
        Ok(json!({"lrScheduler": {"cosine": {"minLrRatio": 0.25, "decayRatio": 1.0}}})),
    );
    check(
        json!({"lrScheduler": {"cosine": {"decayRatio": 0.5}}}),
        Ok(json!({"lrScheduler": {"cosine": {"minLrRatio": 0.0, "decayRatio": 0.5}}})),
    );
    check(
        json!({"lrScheduler": {"cosine": {"minLrRatio": 1.5}}}),
        Err("lrScheduler.cosine.minLrRatio: 1.5 is not between 0 and 1"),
    );
    check(
        json!({"lrScheduler": {"cosine": {"decayRatio": -0.5}}}),
        Err("lrScheduler.cosine.decayRatio: -0.5 is not between 0 and 1"),
    );
}

#[test]
fn only_so_many_checkpoints_are_kept() {
    let every = |interval: i32| json!({"epochs": 100, "batchSizeSamples": 1, "samplerCheckpointSaveIntervalSteps": interval});
    // Five rows are five hundred steps.
    check(
        every(4),
        Err("would keep 125 checkpoints of 500 steps, and 100 are kept at most; set it to 5 or more"),
    );
    check(every(5), Ok(json!({"samplerCheckpointSaveIntervalSteps": 5})));
    check(every(-1), Err("samplerCheckpointSaveIntervalSteps: -1 is not between 0"));
    check(json!({}), Ok(json!({"samplerCheckpointSaveIntervalSteps": 0})));
}

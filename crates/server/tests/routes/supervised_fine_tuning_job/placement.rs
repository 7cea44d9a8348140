//! Fields that say where and when a job runs: nodes, region, accelerators, purpose, reservations.

use hearth_domain::AccountId;
use hearth_domain::schedule::Reservation;
use hearth_server::Executor;
use serde_json::{Value, json};

use super::JOBS;
use crate::server::{Reply, Server, install_model};

/// With two regions, and a reservation of the account `default`.
fn server() -> Server {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        let jobs = config.jobs.as_mut().unwrap();
        jobs.regions = ["EU_PARIS_1", "US_IOWA_1"].map(|name| (name.to_owned(), Executor::Local)).to_vec();
        jobs.limits.reservations = vec![Reservation {
            account: AccountId::new("default").unwrap(),
            id: "night".to_owned(),
            trainers: 1,
            memory_bytes: 1,
        }];
    });
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    server
}

fn create(server: &Server, fields: Value) -> Reply {
    let mut body = json!({"dataset": "rows", "baseModel": "tiny"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post(JOBS, &body)
}

/// The fields of a reply that this file is about.
fn shown(job: &Value) -> Value {
    let fields = ["nodes", "region", "acceleratorType", "acceleratorCount", "purpose", "usePurpose"];
    let more = ["useReservation", "reservationTarget"];
    let all = fields.iter().chain(&more).map(|field| ((*field).to_owned(), job[*field].clone()));
    Value::Object(all.collect())
}

#[test]
fn resolved_values_come_back() {
    let server = server();
    let plain = create(&server, json!({"nodes": 1, "acceleratorCount": 0})).ok();
    let expect = json!({
        "nodes": 1, "region": "EU_PARIS_1",
        "acceleratorType": "ACCELERATOR_TYPE_UNSPECIFIED", "acceleratorCount": 0,
        "purpose": "PURPOSE_UNSPECIFIED", "usePurpose": "",
        "useReservation": false, "reservationTarget": "",
    });
    assert_eq!(shown(&plain), expect);
    let night = "accounts/default/reservations/night";
    let expect = json!({
        "nodes": 1, "region": "US_IOWA_1",
        "acceleratorType": "ACCELERATOR_TYPE_UNSPECIFIED", "acceleratorCount": 0,
        "purpose": "PURPOSE_PILOT", "usePurpose": "pilot",
        "useReservation": true, "reservationTarget": night,
    });
    for fields in [
        json!({"region": "US_IOWA_1", "purpose": "PURPOSE_PILOT", "useReservation": true}),
        json!({"region": "US_IOWA_1", "usePurpose": "pilot", "reservationTarget": night}),
    ] {
        let job = create(&server, fields).ok();
        assert_eq!(shown(&job), expect);
        let name = job["name"].as_str().unwrap();
        assert_eq!(shown(&server.get(&format!("/v1/{name}")).ok()), expect);
        let filter = format!("{JOBS}?filter=region%20%3D%20US_IOWA_1%20AND%20usePurpose%20%3D%20pilot");
        let page = server.get(&filter).ok();
        assert!(page["supervisedFineTuningJobs"].as_array().unwrap().iter().all(|job| shown(job) == expect));
    }
    let filter = format!("{JOBS}?filter=purpose%20%3D%20PURPOSE_PILOT");
    assert_eq!(server.get(&filter).ok()["totalSize"], 2);
}

#[test]
fn what_is_not_here_is_refused_with_what_is() {
    let server = server();
    let refused = |fields: Value, expect: (u16, i64), text: &str| {
        let (status, code, message) = create(&server, fields.clone()).error();
        assert_eq!((status, code), expect, "{fields}: {message}");
        assert!(message.contains(text), "{fields}: {message}");
    };
    refused(json!({"nodes": 2}), (501, 12), "one node");
    refused(json!({"region": "AP_TOKYO_1"}), (400, 9), "it has EU_PARIS_1, US_IOWA_1");
    refused(json!({"region": 999}), (400, 9), "no region 999");
    refused(json!({"region": "MARS_1"}), (400, 3), "MARS_1");
    refused(json!({"acceleratorType": "NVIDIA_H100_80GB"}), (400, 9), "no accelerators");
    refused(json!({"acceleratorCount": 1}), (400, 9), "no accelerators");
    refused(json!({"usePurpose": "fun"}), (400, 3), "there is \"pilot\"");
    refused(json!({"reservationTarget": "noon"}), (400, 9), "account default has night");
    // Nobody uses what is kept for others.
    let acme = server.account("acme");
    let body = json!({"dataset": "rows", "baseModel": "tiny", "useReservation": true}).to_string();
    let path = "/v1/accounts/acme/supervisedFineTuningJobs";
    let message = server.send_as(Some(&acme), "POST", path, body.as_bytes()).error().2;
    assert!(message.contains("account acme has none"), "{message}");
}

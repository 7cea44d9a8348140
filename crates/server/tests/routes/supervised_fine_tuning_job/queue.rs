//! Which of the jobs that wait is next: pilots, and those of a reservation.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use hearth_domain::AccountId;
use hearth_domain::schedule::{Limits, Reservation};
use serde_json::{Value, json};

use super::JOBS;
use crate::server::{Server, install_model};

/// Trains until it is stopped. Of every job it says that it takes little.
const TRAINER: &str = r#"
if [ "$1" = --estimate ]; then
  i='{"low":1,"high":2}'
  echo "{\"estimated\":{\"rows\":5,\"dropped_rows\":0,\"eval_rows\":0,\"tokens_per_epoch\":1,\"tokens\":1,\"trained_tokens\":1,\"total_steps\":4,\"memory_bytes\":$i,\"least_memory_bytes\":1,\"seconds\":$i}}"
  exit
fi
dir="$1"
exec 9>"$dir/lock"
flock -n 9 || exit 73
printf '{"seq":1,"time_ms":1,"type":"started","pid":%d,"resumed_from_step":0}\n' $$ > "$dir/events.jsonl"
echo '{"seq":2,"time_ms":1,"type":"validated","rows":5,"samples":5,"dropped_too_long":0,"dropped_lines":[],"tokens_per_epoch":50,"trained_tokens_per_epoch":20,"eval_rows":0,"total_steps":4}' >> "$dir/events.jsonl"
n=0; while [ $n -lt 2000 ]; do sleep 0.02 9>&-; n=$((n + 1)); done
"#;

/// With so many places, and one of them for each of these reservations of the account `default`.
fn server(capacity: usize, reservations: &[&str]) -> Server {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        let script = config.data_dir.join("trainer.sh");
        fs::write(&script, TRAINER).unwrap();
        let jobs = config.jobs.as_mut().unwrap();
        let account = AccountId::new("default").unwrap();
        let reservation = |id: &&str| Reservation {
            account: account.clone(),
            id: (*id).to_owned(),
            trainers: 1,
            memory_bytes: 1,
        };
        let reservations = reservations.iter().map(reservation).collect();
        jobs.limits = Limits { capacity, reservations, ..Limits::default() };
        jobs.trainer = vec!["/bin/sh".into(), script.into()];
    });
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    server
}

/// Makes a job and waits until it is known what it takes: then it may start.
fn create(server: &Server, id: &str, more: Value) {
    // No two have the same age.
    sleep(Duration::from_millis(2));
    let mut body = json!({"dataset": "rows", "baseModel": "tiny"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("{JOBS}?supervisedFineTuningJobId={id}"), &body).ok();
    server.wait_for(&format!("{JOBS}/{id}"), |job| job.get("estimatedCost").is_some());
}

fn state(server: &Server, id: &str) -> Value {
    server.get(&format!("{JOBS}/{id}")).ok()["state"].clone()
}

fn until_running(server: &Server, id: &str) {
    server.wait_for(&format!("{JOBS}/{id}"), |job| job["state"] == "JOB_STATE_RUNNING");
}

fn cancel(server: &Server, id: &str) {
    server.post(&format!("{JOBS}/{id}:cancel"), &json!({})).ok();
}

#[test]
fn a_pilot_goes_before_an_older_job() {
    for pilot in [json!({"purpose": "PURPOSE_PILOT"}), json!({"usePurpose": "pilot"})] {
        let server = server(1, &[]);
        create(&server, "first", json!({}));
        until_running(&server, "first");
        create(&server, "older", json!({}));
        create(&server, "pilot", pilot);
        cancel(&server, "first");
        until_running(&server, "pilot");
        assert_eq!(state(&server, "older"), "JOB_STATE_PENDING");
        cancel(&server, "pilot");
        until_running(&server, "older");
    }
}

#[test]
fn reserved_capacity_is_for_those_that_ask_for_it_and_comes_first() {
    let server = server(2, &["night"]);
    // Older, and with no claim to what is reserved: one runs in what all share, one waits.
    create(&server, "shared", json!({}));
    create(&server, "waits", json!({}));
    until_running(&server, "shared");
    create(&server, "its", json!({"useReservation": true}));
    until_running(&server, "its");
    assert_eq!(state(&server, "waits"), "JOB_STATE_PENDING");
    // The reservation is full: this one waits for what all share, behind the older one.
    create(&server, "second", json!({"useReservation": true}));
    cancel(&server, "shared");
    until_running(&server, "waits");
    assert_eq!(state(&server, "second"), "JOB_STATE_PENDING");
    cancel(&server, "waits");
    until_running(&server, "second");
}

#[test]
fn a_job_uses_the_reservation_that_it_names() {
    let server = server(2, &["day", "night"]);
    create(&server, "first", json!({"reservationTarget": "night"}));
    until_running(&server, "first");
    create(&server, "second", json!({"reservationTarget": "accounts/default/reservations/night"}));
    // What is kept by day is not theirs, though it is free.
    create(&server, "by-day", json!({"reservationTarget": "day"}));
    until_running(&server, "by-day");
    assert_eq!(state(&server, "second"), "JOB_STATE_PENDING");
    cancel(&server, "first");
    until_running(&server, "second");
}

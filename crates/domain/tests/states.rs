//! The table of states, written out: every allowed change, and nothing else; and what users' wishes come to.

use hearth_domain::{AccountId, Code, Job, JobEvent, JobId, JobState, Status, Wish, transition};
use serde_json::json;

fn events() -> Vec<JobEvent> {
    vec![
        JobEvent::Fetch,
        JobEvent::Fetched,
        JobEvent::Start,
        JobEvent::Validate,
        JobEvent::Write,
        JobEvent::Finish,
        JobEvent::FinishEarly,
        JobEvent::Fail(Status::default()),
        JobEvent::Lose,
        JobEvent::Expire(Status::default()),
        JobEvent::Pause,
        JobEvent::Interrupt,
        JobEvent::Suspend,
        JobEvent::Unsuspend,
        JobEvent::Cancel,
        JobEvent::Resume,
        JobEvent::Delete,
    ]
}

fn job() -> Job {
    let named = |id: &str| json!({"account": "acme", "id": id});
    let settings = json!({
        "display_name": "",
        "dataset": named("rows"),
        "evaluation_dataset": null,
        "base_model": named("base"),
        "output_model": named("j"),
        "jinja_template": null,
        "epochs": 1,
        "learning_rate": 1e-3,
        "learning_rate_warmup_steps": 0,
        "optimizer_weight_decay": 0.01,
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "max_context_length": 128,
        "batch_size": 0,
        "batch_size_samples": 8,
        "gradient_accumulation_steps": 1,
    });
    let settings = serde_json::from_value(settings).unwrap();
    Job::new(AccountId::new("acme").unwrap(), JobId::new("j").unwrap(), settings, "", 0)
}

#[test]
fn the_whole_table() {
    let mut lines = Vec::new();
    for &state in JobState::ALL {
        let mut moves = Vec::new();
        for event in &events() {
            match transition(state, event) {
                Ok(next) => moves.push(format!("{}:{next}", event.name())),
                Err(error) => {
                    let said = format!("a job in state {state} cannot {}", event.name());
                    assert!(error.to_string().starts_with(&said), "{error}");
                }
            }
        }
        lines.push(format!("{state} {}", moves.join(" ")).trim_end().to_owned());
    }
    let expect = "\
PENDING fetch:CREATING_INPUT_DATASET start:VALIDATING fail:FAILED expire:EXPIRED pause:PAUSED suspend:PAUSED cancel:CANCELLED delete:DELETING
CREATING_INPUT_DATASET fetched:PENDING fail:FAILED lose:RE_QUEUEING pause:PAUSED interrupt:PAUSED suspend:PAUSED cancel:CANCELLED delete:DELETING
VALIDATING validate:RUNNING fail:FAILED lose:RE_QUEUEING pause:PAUSED interrupt:PAUSED suspend:PAUSED cancel:CANCELLED delete:DELETING
RUNNING write:WRITING_RESULTS fail:FAILED lose:RE_QUEUEING pause:PAUSED interrupt:PAUSED suspend:PAUSED cancel:CANCELLED delete:DELETING
WRITING_RESULTS finish:COMPLETED finish_early:EARLY_STOPPED fail:FAILED lose:RE_QUEUEING pause:PAUSED interrupt:PAUSED suspend:PAUSED cancel:CANCELLED delete:DELETING
COMPLETED delete:DELETING
EARLY_STOPPED delete:DELETING
FAILED resume:PENDING delete:DELETING
CANCELLED resume:PENDING delete:DELETING
EXPIRED resume:PENDING delete:DELETING
PAUSED pause:PAUSED unsuspend:PENDING cancel:CANCELLED resume:PENDING delete:DELETING
RE_QUEUEING fetch:CREATING_INPUT_DATASET start:VALIDATING fail:FAILED expire:EXPIRED pause:PAUSED suspend:PAUSED cancel:CANCELLED delete:DELETING
DELETING";
    assert_eq!(lines.join("\n"), expect);
}

#[test]
fn states_have_the_names_of_the_api() {
    for &state in JobState::ALL {
        assert_eq!(json!(state), state.name());
    }
}

/// fireworks-ai 0.19 knows the numbers 0 to 19.
#[test]
fn old_clients_see_states_that_they_know() {
    assert_eq!(JobState::Paused.for_old_clients(), JobState::Pending);
    assert_eq!(JobState::EarlyStopped.for_old_clients(), JobState::Completed);
    assert_eq!(JobState::Expired.for_old_clients(), JobState::Expired);
}

#[test]
fn a_job_that_stopped_early_is_at_its_end_and_made_its_model() {
    let ended: Vec<_> = JobState::ALL.iter().filter(|state| state.is_final()).collect();
    assert_eq!(
        ended,
        [
            &JobState::Completed,
            &JobState::EarlyStopped,
            &JobState::Failed,
            &JobState::Cancelled,
            &JobState::Expired
        ]
    );
    let made: Vec<_> = JobState::ALL.iter().filter(|state| state.is_success()).collect();
    assert_eq!(made, [&JobState::Completed, &JobState::EarlyStopped]);
}

#[test]
fn every_state_can_be_reached_and_left_and_none_comes_back_from_deletion() {
    let mut reached = vec![JobState::Pending];
    let mut at = 0;
    while at < reached.len() {
        for event in events() {
            if let Ok(next) = transition(reached[at], &event)
                && !reached.contains(&next)
            {
                reached.push(next);
            }
        }
        at += 1;
    }
    for state in JobState::ALL {
        assert!(reached.contains(state), "{state} is never reached");
        let leads = events().iter().any(|event| transition(*state, event).is_ok());
        assert_eq!(leads, *state != JobState::Deleting, "{state}");
        assert!(
            [state.is_final(), state.is_active(), state.is_waiting()].iter().filter(|is| **is).count() <= 1
        );
    }
}

/// Each wish in each state: the state after it, `same` if it has taken effect, or what is said.
#[test]
fn wishes_are_granted_once() {
    let check = |before: &[JobEvent], wish: Wish, expect: &str| {
        let mut job = job();
        for event in before {
            job.apply(event, 1).unwrap();
        }
        let got = match job.wish(wish) {
            Ok(None) => "same".to_owned(),
            Err(error) => error.to_string(),
            Ok(Some(event)) => {
                job.apply(&event, 2).unwrap();
                assert!(job.wish(wish).unwrap().is_none(), "{wish:?} twice after {before:?}");
                job.state.to_string()
            }
        };
        assert_eq!(got, expect, "{wish:?} after {before:?}");
    };
    use JobEvent::*;
    let fail = || Fail(Status::new(Code::Internal, "x"));
    let expire = || Expire(Status::new(Code::DeadlineExceeded, "x"));
    let done = [Start, Validate, Write, Finish];
    check(&[], Wish::Pause, "PAUSED");
    check(&[Start, Validate], Wish::Pause, "PAUSED");
    check(&[Start, Lose], Wish::Pause, "PAUSED");
    check(&[Suspend], Wish::Pause, "PAUSED");
    check(&[Pause], Wish::Pause, "same");
    check(&done, Wish::Pause, "a job in state COMPLETED cannot pause: it came to its end already");
    check(&[], Wish::Cancel, "CANCELLED");
    check(&[Pause], Wish::Cancel, "CANCELLED");
    check(&[Cancel], Wish::Cancel, "same");
    check(&[expire()], Wish::Cancel, "a job in state EXPIRED cannot cancel: it came to its end already");
    for stop in [Pause, Cancel, fail(), expire()] {
        check(std::slice::from_ref(&stop), Wish::Resume, "PENDING");
        // Whatever has become of it since: the last wish was that it goes on.
        check(&[stop.clone(), Resume], Wish::Resume, "same");
        check(&[stop.clone(), Resume, Start, Validate], Wish::Resume, "same");
        check(&[&[stop.clone(), Resume][..], &done].concat(), Wish::Resume, "same");
        check(&[stop.clone(), Resume, Start, fail()], Wish::Resume, "PENDING");
    }
    check(&[Start, Interrupt], Wish::Resume, "PENDING");
    check(&[], Wish::Resume, "a job in state PENDING cannot resume: it goes on by itself");
    check(&[Start], Wish::Resume, "a job in state VALIDATING cannot resume: it goes on by itself");
    check(
        &done,
        Wish::Resume,
        "a job in state COMPLETED cannot resume: it did all it was to do; make a new job to train again",
    );
}

#[test]
fn the_end_of_a_suspension_lets_go_on_what_it_stopped() {
    let mut stopped = job();
    stopped.apply(&JobEvent::Start, 1).unwrap();
    stopped.apply(&JobEvent::Suspend, 2).unwrap();
    assert_eq!((stopped.state, stopped.status.code), (JobState::Paused, Code::FailedPrecondition));
    assert!(stopped.status.message.contains("account acme is suspended"), "{}", stopped.status.message);
    stopped.apply(&JobEvent::Unsuspend, 3).unwrap();
    assert_eq!((stopped.state, &stopped.status), (JobState::Pending, &Status::default()));

    for events in [&[JobEvent::Pause][..], &[JobEvent::Suspend, JobEvent::Pause]] {
        let mut paused = job();
        events.iter().for_each(|event| paused.apply(event, 1).unwrap());
        let before = paused.clone();
        paused.apply(&JobEvent::Unsuspend, 3).expect_err("its user wants it to rest");
        assert_eq!(paused, before);
    }
}

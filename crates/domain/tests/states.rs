//! The table of states, written out: every allowed change, and nothing else.

use hearth_domain::{JobEvent, JobState, Status, transition};

#[test]
fn the_whole_table() {
    let events = [
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
    ];
    let mut lines = Vec::new();
    for &state in JobState::ALL {
        let mut moves = Vec::new();
        for event in &events {
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
        assert_eq!(serde_like_name(state), state.name());
    }
    assert_eq!(JobState::Paused.for_old_clients(), JobState::Pending);
    assert_eq!(JobState::EarlyStopped.for_old_clients(), JobState::Completed);
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

/// The name that is stored: the variant's name in the API's form.
fn serde_like_name(state: JobState) -> String {
    let mut name = String::new();
    for c in format!("{state:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

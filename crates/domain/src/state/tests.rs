//! The table, and what users' wishes come to.

use super::*;
use crate::code::Code;
use crate::job::tests::settings;
use crate::record::Job;
use crate::{AccountId, JobId};

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
    Job::new(AccountId::new("acme").unwrap(), JobId::new("j").unwrap(), settings(), "", 0)
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

/// fireworks-ai 0.19 knows the numbers 0 to 19.
#[test]
fn old_clients_see_states_that_they_know() {
    assert_eq!(JobState::Paused.for_old_clients(), JobState::Pending);
    assert_eq!(JobState::Expired.for_old_clients(), JobState::Expired);
}

//! The event log of a job.

use hearth_domain::{JobEvent, JobNews, JobNote};
use hearth_store::{JOB_EVENT_MESSAGE_MAX_BYTES, JOB_EVENTS_MAX, JobEventQuery, RunReport};

use super::{job, open};

#[tokio::test]
async fn what_a_run_tells_is_in_the_log_once_and_in_order() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    store.job_transition(key, None, &JobEvent::Start, 20).await.unwrap();
    let news = |note, message: &str| JobNews { time_ms: 30, note, message: message.to_owned() };
    let started = || news(JobNote::Started { resumed_from_step: 0 }, "");
    let report = RunReport {
        notes: vec![
            (0, started()),
            (1, news(JobNote::Checkpoint { step: 2 }, "")),
            (1, news(JobNote::Warning, "hot")),
            (1, news(JobNote::Warning, "hot")),
        ],
        events: vec![JobEvent::Validate],
        ..RunReport::default()
    };
    store.job_follow(key, &report, 31).await.unwrap();
    // A trainer that goes on repeats what it did; only its start is news.
    let again = RunReport {
        notes: vec![
            (0, started()),
            (0, news(JobNote::Checkpoint { step: 2 }, "")),
            (0, news(JobNote::Warning, "cold")),
        ],
        ..RunReport::default()
    };
    store.job_follow(key, &again, 32).await.unwrap();
    let log = store.job_event_list(key).await.unwrap();
    let shown: Vec<String> = log
        .iter()
        .map(|row| format!("{} {} {} {}", row.number, row.event, row.to_state, row.message))
        .collect();
    assert_eq!(
        shown,
        [
            "1 start VALIDATING ",
            "2 started VALIDATING ",
            "3 validate RUNNING ",
            "4 checkpoint RUNNING ",
            "5 warning RUNNING hot",
            "6 started RUNNING ",
            "7 warning RUNNING cold",
        ]
    );
    let page = JobEventQuery { after: Some(5), is_newest_first: true, most: 2 };
    let page = store.job_event_page(key, &page).await.unwrap();
    assert_eq!(page.iter().map(|row| row.number).collect::<Vec<_>>(), [4, 3]);
}

/// Details leave a full log first; numbers are never used again.
#[tokio::test]
async fn a_log_has_a_limit() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    store.job_transition(key, None, &JobEvent::Start, 20).await.unwrap();
    let count = u64::from(JOB_EVENTS_MAX) + 20;
    let notes = (0..count).map(|step| {
        let note = JobNote::Checkpoint { step };
        (0, JobNews { time_ms: 30, note, message: "é".repeat(JOB_EVENT_MESSAGE_MAX_BYTES) })
    });
    let report = RunReport { notes: notes.collect(), ..RunReport::default() };
    store.job_follow(key, &report, 31).await.unwrap();
    let log = store.job_event_list(key).await.unwrap();
    assert_eq!(log.len(), JOB_EVENTS_MAX as usize);
    assert_eq!((log[0].event.as_str(), log[0].number), ("start", 1));
    assert_eq!(
        (log[1].number, log.last().unwrap().number),
        (count - u64::from(JOB_EVENTS_MAX) + 3, count + 1)
    );
    assert_eq!(log[1].message.len(), JOB_EVENT_MESSAGE_MAX_BYTES);
}

//! Jobs: what of them there may be at once, their changes, and what they tell.

use hearth_domain::{Code, JobEvent, JobId, JobProgress, JobState, QuotaKind, Status, Wish};
use hearth_store::{Comparator, Condition, ListQuery, Listed, RunReport, Store, Value};

use super::{acme, code, job, model_ref, open};

#[tokio::test]
async fn of_two_creations_of_one_id_one_wins() {
    let (_dir, store) = open().await;
    let (a, b) = (job("same", "m1"), job("same", "m2"));
    let (a, b) = futures::join!(store.job_create(&a), store.job_create(&b));
    let lost = if a.is_ok() { b } else { a };
    assert_eq!(code(lost), Code::AlreadyExists);
    assert_eq!(store.job_list(&acme(), &ListQuery::default()).await.unwrap().total_size, 1);
}

#[tokio::test]
async fn two_jobs_cannot_make_one_model() {
    let (_dir, store) = open().await;
    let first = store.job_create(&job("j1", "m")).await.unwrap();
    let error = store.job_create(&job("j2", "m")).await.unwrap_err();
    assert_eq!(error.to_string(), "a job with output model accounts/acme/models/m exists already");
    store.job_transition(first.key, None, &JobEvent::Cancel, 20).await.unwrap();
    store.job_create(&job("j2", "m")).await.unwrap();
    assert_eq!(code(store.job_wish(first.key, Wish::Resume, 30).await), Code::AlreadyExists);
}

#[tokio::test]
async fn what_fetches_rows_counts_as_running() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    let running = async || store.quota_usage(&acme(), QuotaKind::RunningSupervisedFineTuningJobs).await;
    assert_eq!(running().await.unwrap(), 0);
    for (event, expect) in [(JobEvent::Fetch, 1), (JobEvent::Fetched, 0), (JobEvent::Start, 1)] {
        store.job_transition(key, None, &event, 20).await.unwrap();
        assert_eq!(running().await.unwrap(), expect, "{event:?}");
    }
}

#[tokio::test]
async fn a_base_is_needed_until_its_job_ends_and_an_adapter_until_it_is_read() {
    let (_dir, store) = open().await;
    let mut job = job("j1", "m");
    let adapter = model_ref("acme", "tuned");
    job.settings.warm_start_from = Some(adapter.clone());
    let base = job.settings.base_model.clone();
    let key = store.job_create(&job).await.unwrap().key;
    let needed = async || {
        let of = async |model| store.job_that_needs(model).await.unwrap().is_some();
        (of(&base).await, of(&adapter).await)
    };
    assert_eq!(needed().await, (true, true));
    // Its rows are fetched first.
    store.job_transition(key, None, &JobEvent::Fetch, 20).await.unwrap();
    store.job_transition(key, None, &JobEvent::Fetched, 20).await.unwrap();
    assert_eq!(needed().await, (true, true));
    store.job_transition(key, None, &JobEvent::Start, 20).await.unwrap();
    let progress = JobProgress { total_steps: 10, ..JobProgress::default() };
    let report = RunReport { progress, events: vec![JobEvent::Validate], ..RunReport::default() };
    store.job_follow(key, &report, 20).await.unwrap();
    assert_eq!(needed().await, (true, false));
    store.job_transition(key, None, &JobEvent::Pause, 20).await.unwrap();
    assert_eq!(needed().await, (true, false));
    store.job_transition(key, None, &JobEvent::Cancel, 20).await.unwrap();
    assert_eq!(needed().await, (false, false));
}

#[tokio::test]
async fn a_transition_checks_the_state_and_is_logged() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    let started = store.job_transition(key, Some(JobState::Pending), &JobEvent::Start, 20).await.unwrap();
    assert_eq!((started.state, started.update_time_ms), (JobState::Validating, 20));
    // Someone still believes that the job is pending.
    let stale = store.job_transition(key, Some(JobState::Pending), &JobEvent::Cancel, 21).await;
    assert_eq!(code(stale), Code::Aborted);
    let impossible = store.job_transition(key, None, &JobEvent::Finish, 22).await.unwrap_err();
    assert_eq!(impossible.to_string(), "a job in state VALIDATING cannot finish");
    let status = Status::new(Code::InvalidArgument, "row 3 has no assistant turn");
    store.job_transition(key, None, &JobEvent::Fail(status.clone()), 23).await.unwrap();

    let read = store.job_get(&acme(), &JobId::new("j1").unwrap()).await.unwrap().job;
    assert_eq!((read.state, read.status, read.completed_time_ms), (JobState::Failed, status, Some(23)));
    let log: Vec<String> = store
        .job_event_list(key)
        .await
        .unwrap()
        .into_iter()
        .map(|row| {
            format!("{} {} {}->{} {}", row.time_ms, row.event, row.from_state, row.to_state, row.message)
        })
        .collect();
    assert_eq!(
        log,
        ["20 start PENDING->VALIDATING ", "23 fail VALIDATING->FAILED row 3 has no assistant turn"]
    );
}

#[tokio::test]
async fn concurrent_transitions_happen_once() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    let all = (0..16).map(|_| store.job_transition(key, Some(JobState::Pending), &JobEvent::Start, 20));
    let done = futures::future::join_all(all).await;
    assert_eq!(done.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(store.job_event_list(key).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_job_is_hidden_and_its_id_free() {
    let (_dir, store) = open().await;
    let id = JobId::new("j1").unwrap();
    let old = store.job_create(&job("j1", "m")).await.unwrap().key;
    store.job_transition(old, None, &JobEvent::Delete, 20).await.unwrap();
    assert_eq!(code(store.job_get(&acme(), &id).await), Code::NotFound);
    assert_eq!(store.job_list(&acme(), &ListQuery::default()).await.unwrap().total_size, 0);
    let new = store.job_create(&job("j1", "m")).await.unwrap().key;
    assert_ne!(old, new);
    assert_eq!(store.job_unfinished(100).await.unwrap().len(), 2);
    store.job_remove(old).await.unwrap();
    store.job_remove(new).await.unwrap();
    let left = store.job_unfinished(100).await.unwrap();
    assert_eq!(
        left.iter().map(|stored| stored.key).collect::<Vec<_>>(),
        [new],
        "only deleted jobs are removed"
    );
}

#[tokio::test]
async fn reports_of_a_run_move_a_job_forward_and_never_wake_it() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    store.job_transition(key, None, &JobEvent::Start, 20).await.unwrap();
    let report = |events_read, step, events| RunReport {
        events_read,
        progress: JobProgress {
            step,
            total_steps: 10,
            epoch: step as u32 / 3,
            rows: step + 5,
            tokens: step * 100,
            samples: step * 2,
            fetched_bytes: 0,
            output_step: 0,
        },
        rows_note: (step == 7).then(|| "a note".to_owned()),
        run_note: (step == 7).then(|| "a warning".to_owned()),
        events,
        ..RunReport::default()
    };
    let got = store.job_follow(key, &report(4, 7, vec![JobEvent::Validate]), 21).await.unwrap();
    assert_eq!((got.state, got.progress.percent(), got.events_read), (JobState::Running, 70, 4));
    let got = store.job_follow(key, &report(9, 3, vec![]), 22).await.unwrap();
    let progress = (got.progress.step, got.progress.tokens, got.progress.samples);
    assert_eq!(progress, (7, 700, 14), "progress never goes back");
    assert_eq!((got.progress.epoch, got.progress.rows, got.progress.percent()), (2, 12, 70));
    assert_eq!(got.note(), "a note; a warning");
    let found = async |message: &str| {
        let column = Listed::Job.column("status.message").unwrap();
        let filter = Condition::Compare(column, Comparator::Equal, Value::Text(message.to_owned()));
        store.job_list(&acme(), &ListQuery { filter, ..ListQuery::default() }).await.unwrap().total_size
    };
    assert_eq!((found("a note; a warning").await, found("a note").await), (1, 0));
    store.job_transition(key, None, &JobEvent::Cancel, 23).await.unwrap();
    let got = store.job_follow(key, &report(11, 9, vec![JobEvent::Pause]), 24).await.unwrap();
    assert_eq!((got.state, got.progress.step, got.events_read), (JobState::Cancelled, 7, 11));
}

#[tokio::test]
async fn a_job_that_stopped_early_is_not_open_any_more() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    for event in [JobEvent::Start, JobEvent::Validate, JobEvent::Write] {
        store.job_transition(key, None, &event, 20).await.unwrap();
    }
    let output = model_ref("acme", "m");
    let open = |store: &Store| {
        let (store, output) = (store.clone(), output.clone());
        async move {
            (
                store.job_unfinished(100).await.unwrap().len(),
                store.job_will_make(&output).await.unwrap(),
                store.job_that_needs(&job("j1", "m").settings.base_model).await.unwrap().is_some(),
                store.quota_usage(&acme(), QuotaKind::OpenSupervisedFineTuningJobs).await.unwrap(),
            )
        }
    };
    assert_eq!(open(&store).await, (1, true, true, 1));
    let done = store.job_transition(key, None, &JobEvent::FinishEarly, 30).await.unwrap();
    assert_eq!((done.state, done.completed_time_ms), (JobState::EarlyStopped, Some(30)));
    assert_eq!(open(&store).await, (0, false, false, 0));
}

#[tokio::test]
async fn rows_survive_a_restart() {
    let (dir, store) = open().await;
    let created = store.job_create(&job("j1", "m")).await.unwrap();
    store.close().await;
    let store = Store::open(dir.path(), 2).await.unwrap();
    assert_eq!(store.job_unfinished(100).await.unwrap(), [created]);
}

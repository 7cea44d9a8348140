//! Suspended accounts.

use hearth_domain::{JobState, SuspendState};

use super::{account, acme, job, open};

#[tokio::test]
async fn who_follows_jobs_is_told_of_a_suspension() {
    let (_dir, store) = open().await;
    store.account_create(&account()).await.unwrap();
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    let mut changed = store.jobs_changed();
    for (state, expect) in
        [(SuspendState::FailedPayments, JobState::Paused), (SuspendState::Unsuspended, JobState::Pending)]
    {
        changed.mark_unchanged();
        store.account_suspend(&acme(), state, 20).await.unwrap();
        assert!(changed.has_changed().unwrap(), "{expect}");
        assert_eq!(store.job_by_key(key).await.unwrap().unwrap().job.state, expect);
    }
}

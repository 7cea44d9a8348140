//! Checks of datasets: few are kept, and only open ones are read when a server starts.

use hearth_domain::{
    AccountId, DatasetValidationFormat, DatasetValidationJob, DatasetValidationJobId, DatasetValidationState,
    Status,
};
use hearth_store::Store;

use super::{acme, open};

fn check(account: &AccountId, number: i64, state: DatasetValidationState) -> DatasetValidationJob {
    DatasetValidationJob {
        account: account.clone(),
        id: DatasetValidationJobId::new(format!("check-{number}")).unwrap(),
        display_name: String::new(),
        datasets: vec![],
        is_single: true,
        format: DatasetValidationFormat::Training,
        base_model: None,
        state,
        status: Status::default(),
        result: None,
        validation_error: String::new(),
        reports: vec![],
        created_by: String::new(),
        create_time_ms: number,
        update_time_ms: number,
    }
}

async fn ids(store: &Store) -> Vec<String> {
    let all: Vec<DatasetValidationJob> = store.all().await.unwrap();
    all.into_iter().map(|job| format!("{}/{}", job.account, job.id)).collect()
}

#[tokio::test]
async fn the_oldest_checks_at_their_end_go_first() {
    use DatasetValidationState::{Completed, Failed, Pending, Running};
    let (_dir, store) = open().await;
    let other = AccountId::new("other").unwrap();
    for (number, state) in [(1, Running), (2, Completed), (3, Failed), (4, Completed), (5, Pending)] {
        store.create(&check(&acme(), number, state)).await.unwrap();
    }
    store.create(&check(&other, 1, Completed)).await.unwrap();
    let open = store.dataset_validation_jobs_open().await.unwrap();
    let open: Vec<&str> = open.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(open, ["check-1", "check-5"]);
    store.dataset_validation_jobs_trim(&acme(), 3).await.unwrap();
    assert_eq!(ids(&store).await.len(), 6);
    store.dataset_validation_jobs_trim(&acme(), 1).await.unwrap();
    assert_eq!(ids(&store).await, ["acme/check-1", "other/check-1", "acme/check-4", "acme/check-5"]);
}

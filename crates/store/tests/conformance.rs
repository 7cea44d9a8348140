//! What every store must do: one suite over the public API, on a fresh data directory each.

use bytes::Bytes;
use futures::stream;
use hearth_domain::job::LrScheduler;
use hearth_domain::{
    Account, AccountId, Code, Dataset, DatasetFile, DatasetId, DatasetRef, Job, JobEvent, JobId, JobNews,
    JobNote, JobProgress, JobSettings, JobState, KeyRights, Model, ModelAbout, ModelId, ModelKind, ModelRef,
    QuotaKind, Status, User, UserId, UserRole,
};
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use hearth_store::{
    Condition, JOB_EVENT_MESSAGE_MAX_BYTES, JOB_EVENTS_MAX, JobEventQuery, ListQuery, Listed, NewApiKey,
    NewUserId, ObjectKey, Order, RunReport, SizeRule, Store, StoreError, UrlSigner,
};

async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), 1).await.unwrap();
    (dir, store)
}

fn acme() -> AccountId {
    AccountId::new("acme").unwrap()
}

fn dataset(id: &str, create_time_ms: i64) -> Dataset {
    Dataset::new(DatasetRef { account: acme(), id: DatasetId::new(id).unwrap() }, "", create_time_ms)
}

fn model_ref(account: &str, id: &str) -> ModelRef {
    ModelRef { account: AccountId::new(account).unwrap(), id: ModelId::new(id).unwrap() }
}

fn job(id: &str, output: &str) -> Job {
    let settings = JobSettings {
        display_name: String::new(),
        dataset: dataset("rows", 0).name(),
        evaluation_dataset: None,
        eval_auto_carveout: false,
        early_stop: false,
        warm_start_from: None,
        base_model: model_ref("fireworks", "tiny"),
        output_model: model_ref("acme", output),
        jinja_template: None,
        epochs: 1,
        learning_rate: 5e-4,
        learning_rate_warmup_steps: 0,
        lr_scheduler: LrScheduler::Constant,
        optimizer_weight_decay: 0.01,
        lora_rank: 8,
        lora_alpha: 16.0,
        target_modules: vec![],
        max_context_length: 512,
        batch_size: 512,
        batch_size_samples: 0,
        gradient_accumulation_steps: 1,
        sampler_checkpoint_save_interval_steps: 0,
        is_turbo: false,
        placement: Default::default(),
        aws_s3_config: None,
        azure_blob_storage_config: None,
        wandb: None,
    };
    Job::new(acme(), JobId::new(id).unwrap(), settings, "a@example.org", 10)
}

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Code {
    result.expect_err("this must fail").code()
}

#[tokio::test]
async fn pages_cover_a_list_once_and_tokens_are_bound_to_it() {
    let (_dir, store) = open().await;
    for (id, time) in [("b", 3), ("a", 3), ("d", 1), ("c", 2), ("e", 3)] {
        store.dataset_create(&dataset(id, time)).await.unwrap();
    }
    let mut other = dataset("x", 1);
    other.account = AccountId::new("other").unwrap();
    store.dataset_create(&other).await.unwrap();

    let by_name = vec![Order::Id { descending: true }];
    let by_time = |descending| {
        let column = Listed::Dataset.column("create_time").unwrap();
        vec![Order::By { column, descending }]
    };
    for (order, expect) in
        [(vec![], "abcde"), (by_name.clone(), "edcba"), (by_time(false), "dcabe"), (by_time(true), "ebacd")]
    {
        for page_size in 1..=6 {
            let mut seen = String::new();
            let mut query = ListQuery { page_size, order: order.clone(), ..Default::default() };
            loop {
                let page = store.dataset_list(&acme(), &query).await.unwrap();
                assert_eq!(page.total_size, 5);
                assert!(page.items.len() <= page_size as usize);
                seen.extend(page.items.iter().map(|dataset| dataset.id.as_str()));
                query.page_token = page.next_page_token;
                if query.page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, expect, "{order:?} by {page_size}");
        }
    }

    let first = ListQuery { page_size: 2, ..Default::default() };
    let page_token = store.dataset_list(&acme(), &first).await.unwrap().next_page_token;
    let next = ListQuery { page_token, ..first.clone() };
    let sorted = ListQuery { order: by_name, ..next.clone() };
    let filtered = ListQuery { filter: Condition::Not(Box::new(Condition::Always(false))), ..next.clone() };
    let junk = ListQuery { page_token: "junk!".to_owned(), ..first };
    assert_eq!(code(store.dataset_list(&other.account, &next).await), Code::InvalidArgument);
    assert_eq!(code(store.dataset_list(&acme(), &sorted).await), Code::InvalidArgument);
    assert_eq!(code(store.dataset_list(&acme(), &filtered).await), Code::InvalidArgument);
    assert_eq!(code(store.model_list(&acme(), &next).await), Code::InvalidArgument);
    assert_eq!(code(store.dataset_list(&acme(), &junk).await), Code::InvalidArgument);
    let below = ListQuery { page_size: -1, ..Default::default() };
    assert_eq!(code(store.dataset_list(&acme(), &below).await), Code::InvalidArgument);
    let huge = ListQuery { page_size: i32::MAX, ..Default::default() };
    assert_eq!(store.dataset_list(&acme(), &huge).await.unwrap().items.len(), 5);
}

#[tokio::test]
async fn a_page_token_survives_insertions_and_deletions() {
    let (_dir, store) = open().await;
    for id in ["a", "c", "e"] {
        store.dataset_create(&dataset(id, 1)).await.unwrap();
    }
    let query = ListQuery { page_size: 2, ..Default::default() };
    let page_token = store.dataset_list(&acme(), &query).await.unwrap().next_page_token;
    store.dataset_delete(&dataset("c", 1).name()).await.unwrap();
    store.dataset_create(&dataset("b", 1)).await.unwrap();
    store.dataset_create(&dataset("d", 1)).await.unwrap();
    let next = store.dataset_list(&acme(), &ListQuery { page_token, ..query }).await.unwrap();
    let ids: Vec<_> = next.items.iter().map(|dataset| dataset.id.as_str()).collect();
    assert_eq!(ids, ["d", "e"]);
}

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
    assert_eq!(error.to_string(), "output model accounts/acme/models/m exists already");
    store.job_transition(first.key, None, &JobEvent::Cancel, 20).await.unwrap();
    store.job_create(&job("j2", "m")).await.unwrap();
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
            epoch: 0,
            rows: 5,
            tokens: step * 100,
            samples: step * 2,
            fetched_bytes: 0,
            output_step: 0,
        },
        rows_note: (step == 7).then(|| "a note".to_owned()),
        events,
        ..RunReport::default()
    };
    let got = store.job_follow(key, &report(4, 7, vec![JobEvent::Validate]), 21).await.unwrap();
    assert_eq!((got.state, got.progress.percent(), got.events_read), (JobState::Running, 70, 4));
    let got = store.job_follow(key, &report(9, 3, vec![]), 22).await.unwrap();
    let progress = (got.progress.step, got.progress.tokens, got.progress.samples);
    assert_eq!(progress, (7, 700, 14), "progress never goes back");
    assert_eq!(got.rows_note, "a note");
    store.job_transition(key, None, &JobEvent::Cancel, 23).await.unwrap();
    let got = store.job_follow(key, &report(11, 9, vec![JobEvent::Pause]), 24).await.unwrap();
    assert_eq!((got.state, got.progress.step, got.events_read), (JobState::Cancelled, 7, 11));
}

fn account() -> Account {
    Account::new(acme(), "", "", 1)
}

fn user(id: UserId, email: &str) -> User {
    User {
        account: acme(),
        id,
        role: UserRole::User,
        display_name: String::new(),
        email: email.to_owned(),
        service_account: false,
        first_name: String::new(),
        last_name: String::new(),
        stated_role: String::new(),
        create_time_ms: 1,
        update_time_ms: 1,
    }
}

fn set_role(role: UserRole) -> impl FnOnce(&mut User) -> Result<(), StoreError> + Send {
    move |user| {
        user.role = role;
        Ok(())
    }
}

#[tokio::test]
async fn users_have_one_address_each_and_an_account_keeps_its_admin() {
    let (_dir, store) = open().await;
    let make = |email: &'static str| move |id| user(id, email);
    let created = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.org")).await;
    assert_eq!(code(created), Code::NotFound);
    store.account_create(&account()).await.unwrap();
    let ada = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.org")).await.unwrap();
    assert_eq!(ada.id.as_str(), "ada");
    let again = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.org")).await;
    assert_eq!(
        again.unwrap_err().to_string(),
        "a user with the email \"ada@example.org\" in accounts/acme/users/ada exists already"
    );
    let other = store.user_create(&acme(), NewUserId::OfEmail, make("ada@example.com")).await.unwrap();
    assert_eq!(other.id.as_str(), "ada-2");
    let given = |id: &str| NewUserId::Given(UserId::new(id).unwrap());
    assert_eq!(code(store.user_create(&acme(), given("ada"), make("x@y")).await), Code::AlreadyExists);
    // Without an address, any number of users.
    for id in ["bot", "bot-2"] {
        store.user_create(&acme(), given(id), make("")).await.unwrap();
    }
    assert_eq!(store.user_of_email(&acme(), "ada@example.com", make("?")).await.unwrap(), other);
    let made = store.user_of_email(&acme(), "eve@example.com", make("eve@example.com")).await.unwrap();
    assert_eq!(made.id.as_str(), "eve");

    store.user_update(&acme(), &ada.id, set_role(UserRole::Admin)).await.unwrap();
    let last = store.user_update(&acme(), &ada.id, set_role(UserRole::ReadOnly)).await;
    assert_eq!(code(last), Code::FailedPrecondition);
    store.user_update(&acme(), &other.id, set_role(UserRole::Admin)).await.unwrap();
    let ada = store.user_update(&acme(), &ada.id, set_role(UserRole::ReadOnly)).await.unwrap();
    assert_eq!(ada.role, UserRole::ReadOnly);
    let taken = |user: &mut User| {
        user.email = "ada@example.com".to_owned();
        Ok::<(), StoreError>(())
    };
    assert_eq!(code(store.user_update(&acme(), &ada.id, taken).await), Code::AlreadyExists);
}

#[tokio::test]
async fn keys_open_by_their_secret_until_they_expire() {
    let (_dir, store) = open().await;
    store.account_create(&account()).await.unwrap();
    let make = |id| user(id, "a@example.org");
    let user = store.user_create(&acme(), NewUserId::OfEmail, make).await.unwrap();
    let new = NewApiKey {
        user: user.clone(),
        display_name: "ci".into(),
        rights: KeyRights::OfUser,
        expire_time_ms: Some(100),
    };
    let (key, secret) = store.api_key_create(new, 5).await.unwrap();
    assert!(secret.starts_with("fw_") && secret.starts_with(&key.prefix) && key.prefix.len() < 12);
    let found = store.api_key_find(&secret, 99).await.unwrap().unwrap();
    assert_eq!((found.key, found.user), (key.clone(), Some(user.clone())));
    assert_eq!(store.api_key_find(&secret, 100).await.unwrap(), None);
    assert_eq!(store.api_key_find("fw_nobody", 99).await.unwrap(), None);
    let raw = std::fs::read(store.data_dir().join("hearth.db")).unwrap();
    let wal = std::fs::read(store.data_dir().join("hearth.db-wal")).unwrap_or_default();
    for file in [raw, wal] {
        assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()), "the secret is on disk");
    }

    // The key follows its user.
    let change = |user: &mut User| {
        user.email = "b@example.org".to_owned();
        set_role(UserRole::ReadOnly)(user)
    };
    let changed = store.user_update(&acme(), &user.id, change).await.unwrap();
    assert_eq!(store.api_key_find(&secret, 99).await.unwrap().unwrap().user, Some(changed));
    let query = ListQuery::default();
    let page = store.api_key_list(&acme(), Some(&user.id), &query).await.unwrap();
    assert_eq!((page.total_size, page.items[0].email.as_str()), (1, "b@example.org"));
    let nobody = UserId::new("nobody").unwrap();
    assert_eq!(store.api_key_list(&acme(), Some(&nobody), &query).await.unwrap().total_size, 0);
    assert_eq!(code(store.api_key_get(&acme(), Some(&nobody), &key.key_id).await), Code::NotFound);
    store.api_key_delete(&key).await.unwrap();
    assert_eq!(code(store.api_key_delete(&key).await), Code::NotFound);
    assert_eq!(store.api_key_find(&secret, 99).await.unwrap(), None);
}

/// Keys as the first builds wrote them, without users.
#[tokio::test]
async fn keys_of_earlier_builds_work() {
    use sha2::{Digest, Sha256};
    let (dir, store) = open().await;
    store.account_create(&account()).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("hearth.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for (role, rights) in [("admin", KeyRights::Operator), ("user", KeyRights::Account)] {
        let record = format!(
            r#"{{"key_id":"{role}","account":"acme","display_name":"","email":"old@example.org","role":"{role}","prefix":"fw_{role}","create_time_ms":1,"expire_time_ms":null}}"#
        );
        sqlx::query("INSERT INTO api_key (key_id, account, sha256, record) VALUES (?1, 'acme', ?2, ?3)")
            .bind(role)
            .bind(Sha256::digest(format!("fw_{role}")).to_vec())
            .bind(record)
            .execute(&pool)
            .await
            .unwrap();
        let found = store.api_key_find(&format!("fw_{role}"), 5).await.unwrap().unwrap();
        assert_eq!((found.key.rights, found.key.email.as_str()), (rights, "old@example.org"));
        assert_eq!(found.user, None);
    }
    let page = store.api_key_list(&acme(), None, &ListQuery::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|key| key.email.as_str()).collect::<Vec<_>>(), ["old@example.org"; 2]);
}

fn pieces(
    list: &[&'static str],
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Unpin + use<> {
    stream::iter(list.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
}

async fn read(store: &Store, key: &ObjectKey) -> Result<String, StoreError> {
    let found = store.objects().get(key).await?;
    let bytes: Vec<u8> =
        futures::TryStreamExt::try_concat(futures::TryStreamExt::map_ok(found.stream, |b| b.to_vec()))
            .await?;
    assert_eq!(bytes.len() as u64, found.size_bytes);
    Ok(String::from_utf8(bytes).unwrap())
}

fn files_under(dir: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.map(|e| e.unwrap().path()).map(|p| if p.is_dir() { files_under(&p) } else { 1 }).sum()
}

#[tokio::test]
async fn uploads_are_whole_or_absent() {
    let (dir, store) = open().await;
    let name = dataset("rows", 1).name();
    let key = ObjectKey::dataset_file(&name, "my rows é.jsonl").unwrap();
    let objects = store.objects();

    let broken = stream::iter(vec![Ok(Bytes::from_static(b"{}")), Err(std::io::Error::other("gone"))]);
    assert_eq!(code(objects.put(&key, SizeRule::AtMost(10), broken).await), Code::Cancelled);
    assert_eq!(
        code(objects.put(&key, SizeRule::AtMost(3), pieces(&["ab", "cd"])).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(objects.put(&key, SizeRule::Exactly(5), pieces(&["ab", "cd"])).await),
        Code::InvalidArgument
    );
    assert_eq!(code(read(&store, &key).await), Code::NotFound);
    assert_eq!(files_under(&dir.path().join("objects")), 0, "a failed upload leaves something behind");

    let put = objects.put(&key, SizeRule::Exactly(4), pieces(&["ab", "cd"])).await.unwrap();
    let sha256_of_abcd = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589";
    assert_eq!((put.size_bytes, put.sha256.as_str()), (4, sha256_of_abcd));
    assert_eq!(read(&store, &key).await.unwrap(), "abcd");
    assert_eq!(std::fs::read(objects.local_path(&key).unwrap()).unwrap(), b"abcd");
    // A failed second upload leaves the first one.
    objects.put(&key, SizeRule::AtMost(3), pieces(&["abcd"])).await.unwrap_err();
    assert_eq!(read(&store, &key).await.unwrap(), "abcd");

    objects.delete_dataset(&name).await.unwrap();
    assert_eq!(code(read(&store, &key).await), Code::NotFound);
}

/// A dataset with one file of these bytes, which stands staged.
fn whole(staging: &mut hearth_store::Staging, id: &str, bytes: &[u8]) -> hearth_store::NewDataset {
    let mut file = staging.create().unwrap();
    file.write(bytes).unwrap();
    let file = file.finish().unwrap();
    let outcome = file.outcome().clone();
    let stored = DatasetFile::stored("a.jsonl", outcome.size_bytes, outcome.sha256);
    let dataset = Dataset { files: vec![stored], ..dataset(id, 1) };
    hearth_store::NewDataset { dataset, files: vec![file] }
}

#[tokio::test]
async fn datasets_come_with_their_files_or_not_at_all() {
    let (dir, store) = open().await;
    let objects = dir.path().join("objects");
    let mut staging = store.objects().staging().unwrap();
    let new = ["a", "b"].map(|id| whole(&mut staging, id, id.as_bytes())).into();
    store.dataset_create_whole(new, staging).await.unwrap();
    assert_eq!(files_under(&objects), 2);
    let key = ObjectKey::dataset_file(&dataset("b", 1).name(), "a.jsonl").unwrap();
    assert_eq!(read(&store, &key).await.unwrap(), "b");
    // One name that is taken keeps all of them out.
    let mut staging = store.objects().staging().unwrap();
    let new = ["c", "b", "d"].map(|id| whole(&mut staging, id, b"x")).into();
    assert_eq!(code(store.dataset_create_whole(new, staging).await), Code::AlreadyExists);
    assert_eq!(files_under(&objects), 2);
    assert_eq!(read(&store, &key).await.unwrap(), "b");
    // What a dead server left, staged or moved in without a record, goes at the next start.
    let mut staging = store.objects().staging().unwrap();
    let left = whole(&mut staging, "left", b"x");
    std::mem::forget(staging);
    let place = ObjectKey::dataset_file(&left.dataset.name(), "a.jsonl").unwrap();
    let place = store.objects().local_path(&place).unwrap();
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, b"x").unwrap();
    assert_eq!(files_under(&objects), 4);
    store.dataset_sweep().await.unwrap();
    assert_eq!(files_under(&objects), 2);
}

#[test]
fn object_names_stay_inside() {
    let name = DatasetRef { account: acme(), id: DatasetId::new("rows").unwrap() };
    for wrong in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", &"x".repeat(201)] {
        assert_eq!(code(ObjectKey::dataset_file(&name, wrong)), Code::InvalidArgument, "{wrong:?}");
    }
}

#[tokio::test]
async fn signed_urls_say_expired_or_altered() {
    let (dir, store) = open().await;
    let path = "/files/accounts/acme/datasets/rows/a.jsonl";
    let query = store.signer().sign("PUT", path, "size=4", 1000);
    let (expires, signature) = query.split_once("&signature=").unwrap();
    assert_eq!(expires, "expires=1000");
    // A server that starts again on the same directory has the same key.
    let signer = UrlSigner::open(&dir.path().join("signing-key")).unwrap();
    let check = |method, path, extra, expires_ms, signature: &str, now_ms| match signer
        .check(method, path, extra, expires_ms, signature, now_ms)
    {
        Ok(()) => "ok",
        Err(StoreError::UrlExpired) => "expired",
        Err(StoreError::UrlAltered) => "altered",
        Err(_) => "other",
    };
    assert_eq!(check("PUT", path, "size=4", 1000, signature, 999), "ok");
    assert_eq!(check("PUT", path, "size=4", 1000, signature, 1000), "expired");
    assert_eq!(check("GET", path, "size=4", 1000, signature, 999), "altered");
    assert_eq!(check("PUT", "/files/x", "size=4", 1000, signature, 999), "altered");
    assert_eq!(check("PUT", path, "size=5", 1000, signature, 999), "altered");
    assert_eq!(check("PUT", path, "size=4", 2000, signature, 999), "altered");
    assert_eq!(check("PUT", path, "size=4", 1000, &signature[2..], 999), "altered");
    assert_eq!(check("PUT", path, "size=4", 1000, "nothex", 999), "altered");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir.path().join("signing-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn manifest(kind: InstalledKind) -> ModelManifest {
    ModelManifest {
        version: ModelManifest::VERSION,
        kind,
        display_name: "Tiny".into(),
        source: "test".into(),
        hub_id: None,
        parameter_count: 42,
        context_length: 128,
        model_type: "llama".into(),
        base_model: None,
        r: 0,
        target_modules: vec![],
        files: Default::default(),
        create_time_ms: 7,
    }
}

#[tokio::test]
async fn installed_models_are_found_by_a_running_server() {
    let (dir, store) = open().await;
    let name = model_ref("fireworks", "tiny");
    let install = || {
        let staged = installed::stage(dir.path()).unwrap();
        std::fs::write(staged.join("config.json"), "{}").unwrap();
        let mut manifest = manifest(InstalledKind::Base);
        manifest.files = installed::digest_files(&staged).unwrap();
        installed::install(dir.path(), &name.account, &name.id, &staged, &manifest)
    };
    assert_eq!(code(store.model_get(&name).await), Code::NotFound);
    let model = install().unwrap();
    assert_eq!(code(install()), Code::AlreadyExists);
    assert_eq!(installed::read(dir.path(), &name.account, &name.id).unwrap(), model);
    assert_eq!(model.manifest.files["config.json"].size_bytes, 2);

    store.model_sync().await.unwrap();
    let row = store.model_get(&name).await.unwrap();
    assert_eq!((row.kind, row.create_time_ms), (ModelKind::Base { parameter_count: 42 }, 7));
    installed::remove(dir.path(), &name.account, &name.id).unwrap();
    store.model_sync().await.unwrap();
    assert_eq!(code(store.model_get(&name).await), Code::NotFound);
    install().unwrap();
    store.model_sync().await.unwrap();
    store.model_delete(&name).await.unwrap();
    assert!(!model.dir.exists());
    assert_eq!(code(store.model_delete(&name).await), Code::NotFound);
}

#[tokio::test]
async fn a_finished_job_and_its_model_appear_together() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    let output = Model {
        account: acme(),
        id: ModelId::new("m").unwrap(),
        display_name: String::new(),
        about: ModelAbout::default(),
        upload: None,
        kind: ModelKind::Base { parameter_count: 1 },
        context_length: 128,
        model_type: "llama".into(),
        imported_from: String::new(),
        created_by: String::new(),
        create_time_ms: 30,
        update_time_ms: 30,
    };
    assert_eq!(code(store.job_finish(key, &JobEvent::Finish, &output, 30).await), Code::FailedPrecondition);
    assert_eq!(code(store.model_get(&output.name()).await), Code::NotFound);
    for event in [JobEvent::Start, JobEvent::Validate, JobEvent::Write] {
        store.job_transition(key, None, &event, 20).await.unwrap();
    }
    let done = store.job_finish(key, &JobEvent::Finish, &output, 30).await.unwrap();
    assert_eq!((done.state, done.completed_time_ms), (JobState::Completed, Some(30)));
    assert_eq!(store.model_get(&output.name()).await.unwrap(), output);
}

#[tokio::test]
async fn a_job_that_stopped_early_is_not_open_any_more() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    for event in [JobEvent::Start, JobEvent::Validate, JobEvent::Write] {
        store.job_transition(key, None, &event, 20).await.unwrap();
    }
    let output = ModelRef { account: acme(), id: ModelId::new("m").unwrap() };
    let open = |store: &Store| {
        let (store, output) = (store.clone(), output.clone());
        async move {
            (
                store.job_unfinished(100).await.unwrap().len(),
                store.job_will_make(&output).await.unwrap(),
                store.job_with_base(&job("j1", "m").settings.base_model).await.unwrap().is_some(),
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

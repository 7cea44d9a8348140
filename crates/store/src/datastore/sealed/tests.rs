//! Keys of Weights & Biases and webhooks: rotations, ends, order, and limits.

use hearth_domain::{
    Account, AccountId, Code, Job, JobEvent, JobId, JobSettings, Sealed, Status, Webhook, WebhookHealth,
    WebhookId,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{Store, StoredJob, WEBHOOK_QUEUE_MAX, WandbProgress, WebhookAttempt};

fn account() -> AccountId {
    AccountId::new("acme").unwrap()
}

async fn open(dir: &std::path::Path) -> Store {
    Store::open(dir, 1).await.unwrap()
}

async fn filled(dir: &std::path::Path) -> Store {
    let store = open(dir).await;
    let account = Account {
        id: account(),
        display_name: String::new(),
        email: String::new(),
        create_time_ms: 1,
        update_time_ms: 1,
        suspend_state: hearth_domain::SuspendState::default(),
    };
    store.account_create(&account).await.unwrap();
    store
}

fn job(id: &str) -> Job {
    let reference = |id: &str| json!({"account": "acme", "id": id});
    let settings: JobSettings = serde_json::from_value(json!({
        "display_name": "", "dataset": reference("d"), "evaluation_dataset": null, "base_model": reference("b"),
        "output_model": reference(id), "jinja_template": null, "epochs": 1, "learning_rate": 0.1,
        "learning_rate_warmup_steps": 0, "optimizer_weight_decay": 0.0, "lora_rank": 8, "lora_alpha": 16,
        "max_context_length": 512, "batch_size": 0, "batch_size_samples": 1, "gradient_accumulation_steps": 1,
        "wandb": {"project": "p", "entity": "", "run_id": "r", "url": ""},
    }))
    .unwrap();
    Job::new(account(), JobId::new(id).unwrap(), settings, "", 1)
}

async fn logged(store: &Store, id: &str) -> StoredJob {
    store.job_create_logged(&job(id), Some(&SecretString::from("wandb key"))).await.unwrap()
}

async fn webhook(store: &Store, id: &str, event_types: &[&str]) {
    let webhook = Webhook {
        account: account(),
        id: WebhookId::new(id).unwrap(),
        display_name: String::new(),
        url: "https://example.org/".to_owned(),
        event_types: event_types.iter().map(|one| (*one).to_owned()).collect(),
        created_by: String::new(),
        sealed: Sealed { key_id: String::new(), nonce: String::new(), ciphertext: String::new() },
        health: WebhookHealth::default(),
        create_time_ms: 1,
        update_time_ms: 1,
    };
    store.webhook_create(webhook, &SecretString::from("whsec")).await.unwrap();
}

#[tokio::test]
async fn a_rotation_goes_through_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let stored = logged(&store, "j").await;
    webhook(&store, "w", &[]).await;
    let before = std::fs::read_to_string(dir.path().join("secrets-key")).unwrap();
    assert_eq!(store.secrets_rotate().await.unwrap(), 2);
    let after = std::fs::read_to_string(dir.path().join("secrets-key")).unwrap();
    assert!(after.lines().count() == 1 && before != after, "the old key is forgotten");
    assert_eq!(store.wandb_key(&stored).await.unwrap().unwrap().expose_secret(), "wandb key");
    let (_, secret) = store.webhook_secret(&account(), "w").await.unwrap();
    assert_eq!(secret.expose_secret(), "whsec");
    assert!(store.secrets_closed().await.unwrap().is_empty());
    std::fs::write(dir.path().join("secrets-key"), before).unwrap();
    let closed: Vec<String> = store.secrets_closed().await.unwrap().iter().map(ToString::to_string).collect();
    assert!(closed.len() == 2 && closed[0].starts_with("webhook accounts/acme/webhooks/w "), "{closed:?}");
    assert!(store.wandb_key(&stored).await.is_err());
}

#[tokio::test]
async fn the_key_goes_when_the_sending_is_done_or_the_job_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let (done, deleted) = (logged(&store, "done").await, logged(&store, "deleted").await);
    let plain = store.job_create(&job("plain")).await.unwrap();
    assert_eq!(store.wandb_progress(plain.key).await.unwrap(), None);
    assert_eq!(store.wandb_open().await.unwrap().len(), 2);
    let progress = WandbProgress { rows_sent: 3, last_step: Some(7), figures_sent: 2 };
    store.wandb_sent(done.key, &progress).await.unwrap();
    store.wandb_begun(done.key, "team", "https://w/r").await.unwrap();
    store.wandb_done(done.key).await.unwrap();
    for (event, expect) in [(JobEvent::Cancel, 1), (JobEvent::Resume, 3)] {
        store.job_transition(done.key, None, &event, 4).await.unwrap();
        assert_eq!(store.job_event_list(done.key).await.unwrap().len(), expect);
    }
    store.job_transition(deleted.key, None, &JobEvent::Delete, 5).await.unwrap();
    assert!(store.wandb_open().await.unwrap().is_empty());
    for stored in [&done, &deleted] {
        assert!(store.wandb_key(stored).await.unwrap().is_none());
    }
    assert_eq!(store.wandb_progress(done.key).await.unwrap(), Some(progress));
    let wandb = store.job_by_key(done.key).await.unwrap().unwrap().job.settings.wandb.unwrap();
    assert_eq!((wandb.entity.as_str(), wandb.url.as_str()), ("team", "https://w/r"));
    store.job_remove(deleted.key).await.unwrap();
    assert_eq!(store.wandb_progress(deleted.key).await.unwrap(), None);
}

#[tokio::test]
async fn the_key_of_a_job_that_may_be_resumed_is_kept_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let key = logged(&store, "j").await.key;
    let is_open = async || !store.wandb_open().await.unwrap().is_empty();
    let cancelled = store.job_transition(key, None, &JobEvent::Cancel, 10).await.unwrap();
    assert!(is_open().await, "its end is still to be told");
    store.wandb_end_told(key, &cancelled, 11).await.unwrap();
    assert!(!is_open().await);
    store.job_transition(key, None, &JobEvent::Resume, 12).await.unwrap();
    assert!(is_open().await);
    // Told of an end that is none any more.
    store.wandb_end_told(key, &cancelled, 13).await.unwrap();
    store.wandb_forget(100).await.unwrap();
    assert!(is_open().await);
    let cancelled = store.job_transition(key, None, &JobEvent::Cancel, 20).await.unwrap();
    store.wandb_end_told(key, &cancelled, 21).await.unwrap();
    let stored = store.job_by_key(key).await.unwrap().unwrap();
    for (before_ms, is_kept) in [(21, true), (22, false)] {
        store.wandb_forget(before_ms).await.unwrap();
        assert_eq!(store.wandb_key(&stored).await.unwrap().is_some(), is_kept);
    }
    store.job_transition(key, None, &JobEvent::Resume, 30).await.unwrap();
    assert!(!is_open().await);
    let last = store.job_event_list(key).await.unwrap().pop().unwrap();
    assert!(last.message.contains("but not its run of Weights & Biases"), "{last:?}");
}

#[tokio::test]
async fn of_one_job_the_oldest_is_told_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    webhook(&store, "all", &[]).await;
    webhook(&store, "ends", &["fine_tuning.job.cancelled"]).await;
    let (one, two) = (logged(&store, "one").await.key, logged(&store, "two").await.key);
    for (key, event, now_ms) in
        [(one, JobEvent::Start, 10), (one, JobEvent::Cancel, 11), (two, JobEvent::Cancel, 12)]
    {
        store.job_transition(key, None, &event, now_ms).await.unwrap();
    }
    let shown = |due: &[crate::WebhookDelivery]| -> Vec<String> {
        let kind = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["type"].to_string();
        due.iter().map(|one| format!("{} {}", one.webhook, kind(&one.body))).collect()
    };
    let due = store.webhook_due(20, 10, 2).await.unwrap();
    assert_eq!(
        shown(&due),
        [
            "all \"fine_tuning.job.validating\"",
            "ends \"fine_tuning.job.cancelled\"",
            "all \"fine_tuning.job.cancelled\"",
            "ends \"fine_tuning.job.cancelled\"",
        ]
    );
    // All of a webhook that failed waits, and what it took in makes room for the next.
    let failed = WebhookAttempt::Failed { error: "no".to_owned(), again_ms: 100 };
    store.webhook_attempted(&due[0], &failed, 20).await.unwrap();
    assert_eq!(store.webhook_due(99, 10, 2).await.unwrap().len(), 2);
    let again =
        store.webhook_due(100, 10, 2).await.unwrap().into_iter().find(|one| one.seq == due[0].seq).unwrap();
    assert_eq!((again.attempts, &again.message_id), (1, &due[0].message_id));
    store.webhook_attempted(&again, &WebhookAttempt::Delivered, 30).await.unwrap();
    let next = store.webhook_due(30, 10, 2).await.unwrap();
    assert_eq!(shown(&next).iter().filter(|one| one.starts_with("all")).count(), 2, "{next:?}");
    store.delete::<Webhook>(&account(), "ends").await.unwrap();
    assert_eq!(store.webhook_due(30, 10, 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_webhook_with_many_deliveries_hides_none_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    webhook(&store, "busy", &[]).await;
    for i in 0..20 {
        let key = store.job_create(&job(&format!("j{i}"))).await.unwrap().key;
        store.job_transition(key, None, &JobEvent::Cancel, i).await.unwrap();
    }
    webhook(&store, "calm", &[]).await;
    let key = store.job_create(&job("last")).await.unwrap().key;
    store.job_transition(key, None, &JobEvent::Cancel, 30).await.unwrap();
    let due = async |now_ms: i64| store.webhook_due(now_ms, 10, 2).await.unwrap();
    let shown = |due: &[crate::WebhookDelivery]| -> Vec<String> {
        due.iter().map(|one| format!("{} {}", one.webhook, one.has_failed)).collect()
    };
    assert_eq!(shown(&due(40).await), ["busy false", "busy false", "calm false"]);
    // One that fails comes last.
    let failed = WebhookAttempt::Failed { error: "no".to_owned(), again_ms: 20 };
    store.webhook_attempted(&due(40).await[0], &failed, 40).await.unwrap();
    assert_eq!(shown(&due(40).await), ["calm false", "busy true", "busy true"]);
}

#[tokio::test]
async fn long_messages_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    webhook(&store, "w", &["fine_tuning.job.failed"]).await;
    let key = store.job_create(&job("j")).await.unwrap().key;
    let status = Status::new(Code::Internal, "x".repeat(100_000));
    for event in [JobEvent::Start, JobEvent::Fail(status)] {
        store.job_transition(key, None, &event, 1).await.unwrap();
    }
    let due = store.webhook_due(1, 10, 2).await.unwrap();
    assert!(due.len() == 1 && due[0].body.len() < 8 << 10, "{}", due[0].body.len());
}

#[tokio::test]
async fn what_waits_has_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    webhook(&store, "w", &[]).await;
    let key = logged(&store, "j").await.key;
    let count = WEBHOOK_QUEUE_MAX + 4;
    for i in 0..count {
        let event = if i % 2 == 0 { JobEvent::Cancel } else { JobEvent::Resume };
        store.job_transition(key, None, &event, i).await.unwrap();
    }
    let webhook: Webhook = store.get(&account(), "w").await.unwrap();
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM webhook_delivery").fetch_one(store.pool()).await.unwrap();
    assert_eq!((waiting, webhook.health.dropped), (WEBHOOK_QUEUE_MAX, 4));
    assert_eq!(store.webhook_due(count, 10, 2).await.unwrap()[0].create_time_ms, 4);
}

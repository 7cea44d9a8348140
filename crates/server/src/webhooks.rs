//! Tells webhooks what the store has for them, as the Standard Webhooks specification says (version 1).
//!
//! What is to be told stands in the store from the moment in which it happened, and goes when it was taken in or given up:
//! each event arrives at least once, with the same `webhook-id` each time. Those of one job arrive in order. Webhooks that
//! do not answer hold up none of the others: each has a few deliveries at the same time, and those that fail have a part
//! of all.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearth_domain::Webhook;
use hearth_store::{Store, StoreError, WebhookAttempt, WebhookDelivery};
use hmac::{Hmac, KeyInit, Mac};
use http::header;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    WEBHOOK_AFTER_MAX, WEBHOOK_ATTEMPTS_MAX, WEBHOOK_BACKOFF_MAX, WEBHOOK_BACKOFF_MIN,
    WEBHOOK_DELIVERIES_AT_ONCE, WEBHOOK_DELIVERIES_FAILING, WEBHOOK_DELIVERIES_PER_HOOK, WEBHOOK_POLL,
    WEBHOOK_STORE_PAUSE, WEBHOOK_TIMEOUT,
};
use crate::outgoing::{Outgoing, Reach};

/// What a webhook's secret begins with; the rest is base64.
pub(crate) const SECRET_PREFIX: &str = "whsec_";
/// Deliveries that a round looks at: more than it can make, since webhooks may have their share already.
const DUE_MAX: u32 = 256;
/// The same of one webhook.
const DUE_MAX_PER_HOOK: u32 = WEBHOOK_DELIVERIES_PER_HOOK as u32;
/// Pause between two rounds, however much changes.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// The running task.
pub(crate) struct WebhookSender {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl WebhookSender {
    /// Starts it in the current runtime.
    pub(crate) fn start(store: Store, reach: Reach) -> Self {
        let stop = CancellationToken::new();
        let outgoing = Outgoing::new(reach, WEBHOOK_TIMEOUT);
        let task = tokio::spawn(run(store, outgoing, stop.clone()));
        Self { task, stop }
    }

    /// Ends it. What is on its way is sent again by the next server.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that tells webhooks panicked");
        }
    }
}

/// Deliveries that are being made: keys of their rows, with their webhooks.
#[derive(Default)]
struct Running {
    deliveries: HashSet<i64>,
    of_hook: HashMap<(String, String), usize>,
    /// How many of them are to webhooks that failed before.
    failing: usize,
}

impl Running {
    fn hook(delivery: &WebhookDelivery) -> (String, String) {
        (delivery.account.to_string(), delivery.webhook.clone())
    }

    /// Takes a delivery on, if there is room.
    fn begin(&mut self, delivery: &WebhookDelivery) -> bool {
        let own = self.of_hook.get(&Self::hook(delivery)).copied().unwrap_or(0);
        if self.deliveries.len() >= WEBHOOK_DELIVERIES_AT_ONCE
            || own >= WEBHOOK_DELIVERIES_PER_HOOK
            || (delivery.has_failed && self.failing >= WEBHOOK_DELIVERIES_FAILING)
            || !self.deliveries.insert(delivery.seq)
        {
            return false;
        }
        self.of_hook.insert(Self::hook(delivery), own + 1);
        self.failing += usize::from(delivery.has_failed);
        true
    }

    fn end(&mut self, delivery: &WebhookDelivery) {
        self.deliveries.remove(&delivery.seq);
        self.failing -= usize::from(delivery.has_failed);
        let hook = Self::hook(delivery);
        match self.of_hook.get_mut(&hook) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(self.of_hook.remove(&hook)),
        }
    }
}

async fn run(store: Store, outgoing: Outgoing, stop: CancellationToken) {
    let mut changed = store.jobs_changed();
    let mut running = Running::default();
    let mut tasks: JoinSet<WebhookDelivery> = JoinSet::new();
    while !stop.is_cancelled() {
        changed.borrow_and_update();
        match store.webhook_due(crate::now_ms(), DUE_MAX, DUE_MAX_PER_HOOK).await {
            Ok(due) => {
                for delivery in due.into_iter().filter(|delivery| running.begin(delivery)).collect::<Vec<_>>()
                {
                    let (store, outgoing, stop) = (store.clone(), outgoing.clone(), stop.clone());
                    tasks.spawn(async move {
                        if let Err(error) = deliver(&store, &outgoing, &delivery).await {
                            tracing::error!(%error, "telling a webhook failed");
                            // It keeps its place meanwhile, and is not made again.
                            let _ = stop.run_until_cancelled(tokio::time::sleep(WEBHOOK_STORE_PAUSE)).await;
                        }
                        delivery
                    });
                }
            }
            Err(error) => tracing::error!(%error, "looking for what webhooks are to be told failed"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = changed.changed() => {}
            () = tokio::time::sleep(WEBHOOK_POLL) => {}
            Some(done) = tasks.join_next() => match done {
                Ok(delivery) => running.end(&delivery),
                Err(error) => {
                    tracing::error!(%error, "telling a webhook panicked");
                    // Which one is not known: all are begun anew, and each may arrive twice.
                    (tasks, running) = (JoinSet::new(), Running::default());
                }
            },
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(ROUND_PAUSE)).await;
    }
}

/// Tries once, and takes down what became of it.
async fn deliver(store: &Store, outgoing: &Outgoing, delivery: &WebhookDelivery) -> Result<(), StoreError> {
    let outcome = match store.webhook_secret(&delivery.account, &delivery.webhook).await {
        Ok((webhook, secret)) => send(outgoing, &webhook, &secret, delivery).await,
        // Deleted meanwhile, and everything with it.
        Err(StoreError::NotFound { .. }) => return Ok(()),
        Err(error @ StoreError::WrongState { .. }) => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    let now_ms = crate::now_ms();
    let attempt = match outcome {
        Ok(()) => WebhookAttempt::Delivered,
        Err(error) => after_failure(delivery, error, now_ms),
    };
    if let WebhookAttempt::GivenUp { error } = &attempt {
        let webhook = format!("accounts/{}/webhooks/{}", delivery.account, delivery.webhook);
        tracing::warn!(webhook, error, "an event is not sent any more");
    }
    store.webhook_attempted(delivery, &attempt, now_ms).await
}

fn after_failure(delivery: &WebhookDelivery, error: String, now_ms: i64) -> WebhookAttempt {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let age_ms = now_ms.saturating_sub(delivery.create_time_ms);
    if delivery.attempts + 1 >= WEBHOOK_ATTEMPTS_MAX || age_ms > millis(WEBHOOK_AFTER_MAX) {
        return WebhookAttempt::GivenUp { error };
    }
    let pause = WEBHOOK_BACKOFF_MIN.saturating_mul(1 << delivery.attempts.min(16)).min(WEBHOOK_BACKOFF_MAX);
    WebhookAttempt::Failed { error, again_ms: now_ms.saturating_add(millis(pause)) }
}

async fn send(
    outgoing: &Outgoing,
    webhook: &Webhook,
    secret: &SecretString,
    delivery: &WebhookDelivery,
) -> Result<(), String> {
    let time_s = crate::now_ms().div_euclid(1000);
    let signature = sign(secret, &delivery.message_id, time_s, &delivery.body)?;
    let request = http::Request::post(&webhook.url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("hearth/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &delivery.message_id)
        .header("webhook-timestamp", time_s)
        .header("webhook-signature", signature)
        .body(delivery.body.clone().into_bytes())
        .map_err(|error| error.to_string())?;
    let answer = outgoing.send(request).await?;
    match answer.status {
        200..=299 => Ok(()),
        status @ 300..=399 => Err(format!("it answered with HTTP {status}; redirects are not followed")),
        status => Err(format!("it answered with HTTP {status}")),
    }
}

/// `v1,` and the HMAC-SHA256 of id, time and body in base64.
fn sign(secret: &SecretString, id: &str, time_s: i64, body: &str) -> Result<String, String> {
    let text = secret.expose_secret().strip_prefix(SECRET_PREFIX);
    let key = text.and_then(|text| STANDARD.decode(text).ok()).ok_or("what it signs with is damaged")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{time_s}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use hearth_domain::{
        Account, AccountId, Job, JobEvent, JobId, Sealed, SuspendState, WebhookHealth, WebhookId,
    };

    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = sign(&secret, id, 1614265330, "{\"test\": 2432232314}").unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(sign(&SecretString::from("other"), id, 1, "").is_err());
    }

    fn delivery(seq: i64, webhook: &str) -> WebhookDelivery {
        WebhookDelivery {
            seq,
            account: AccountId::new("a").unwrap(),
            webhook: webhook.to_owned(),
            message_id: "m".to_owned(),
            body: "{}".to_owned(),
            attempts: 0,
            create_time_ms: 0,
            has_failed: false,
        }
    }

    #[test]
    fn a_delivery_is_tried_for_a_while() {
        let check = |attempts: u32, now_ms: i64, again_ms: Option<i64>| {
            let error = "no".to_owned();
            let expect = match again_ms {
                Some(again_ms) => WebhookAttempt::Failed { error: error.clone(), again_ms },
                None => WebhookAttempt::GivenUp { error: error.clone() },
            };
            assert_eq!(
                after_failure(&WebhookDelivery { attempts, ..delivery(1, "w") }, error, now_ms),
                expect
            );
        };
        check(0, 1000, Some(2000));
        check(3, 1000, Some(9000));
        check(20, 1000, Some(3_601_000));
        check(29, 1000, None);
        check(0, 24 * 3_600_000 + 1, None);
    }

    #[test]
    fn one_webhook_takes_no_more_than_its_share() {
        let mut running = Running::default();
        let first = delivery(1, "w");
        assert!(running.begin(&first) && !running.begin(&first));
        assert!(running.begin(&delivery(2, "w")) && !running.begin(&delivery(3, "w")));
        assert!(running.begin(&delivery(4, "x")));
        running.end(&first);
        assert!(running.begin(&delivery(3, "w")));
        running.end(&delivery(2, "w"));
        running.end(&delivery(3, "w"));
        running.end(&delivery(4, "x"));
        assert!(running.of_hook.is_empty() && running.deliveries.is_empty());
    }

    #[test]
    fn webhooks_that_fail_leave_room_for_others() {
        let mut running = Running::default();
        let failing = |seq: i64| WebhookDelivery { has_failed: true, ..delivery(seq, &format!("w{seq}")) };
        let taken: Vec<WebhookDelivery> = (0..20).map(failing).filter(|one| running.begin(one)).collect();
        assert_eq!(taken.len(), WEBHOOK_DELIVERIES_FAILING);
        assert!(running.begin(&delivery(20, "x")));
        running.end(&taken[0]);
        assert!(running.begin(&failing(21)) && !running.begin(&failing(22)));
    }

    /// Lines of the log that begin a failure.
    #[derive(Clone, Default)]
    struct Failures(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Failures {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Failures {
        fn count(&self) -> usize {
            String::from_utf8_lossy(&self.0.lock().unwrap()).matches("telling a webhook failed").count()
        }
    }

    #[tokio::test]
    async fn what_cannot_be_taken_down_is_not_tried_again_at_once() {
        let log = Failures::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 1).await.unwrap();
        let account = AccountId::new("a").unwrap();
        store
            .account_create(&Account {
                id: account.clone(),
                display_name: String::new(),
                email: String::new(),
                create_time_ms: 1,
                update_time_ms: 1,
                suspend_state: SuspendState::default(),
            })
            .await
            .unwrap();
        let webhook = Webhook {
            account: account.clone(),
            id: WebhookId::new("w").unwrap(),
            display_name: String::new(),
            url: "http://127.0.0.1:1/".to_owned(),
            event_types: vec![],
            created_by: String::new(),
            sealed: Sealed { key_id: String::new(), nonce: String::new(), ciphertext: String::new() },
            health: WebhookHealth::default(),
            create_time_ms: 1,
            update_time_ms: 1,
        };
        store.webhook_create(webhook, &SecretString::from("whsec_MfKQ")).await.unwrap();
        let reference = |id: &str| serde_json::json!({"account": "a", "id": id});
        let settings = serde_json::from_value(serde_json::json!({
            "display_name": "", "dataset": reference("d"), "evaluation_dataset": null, "base_model": reference("b"),
            "output_model": reference("o"), "jinja_template": null, "epochs": 1, "learning_rate": 0.1,
            "learning_rate_warmup_steps": 0, "optimizer_weight_decay": 0.0, "lora_rank": 8, "lora_alpha": 16,
            "max_context_length": 512, "batch_size": 0, "batch_size_samples": 1, "gradient_accumulation_steps": 1,
        }))
        .unwrap();
        let job = Job::new(account, JobId::new("j").unwrap(), settings, "", 1);
        let key = store.job_create(&job).await.unwrap().key;
        store.job_transition(key, None, &JobEvent::Cancel, 1).await.unwrap();
        // The keys cannot be read, as little as anything can be written to a full disk.
        let keys = dir.path().join("secrets-key");
        std::fs::remove_file(&keys).unwrap();
        std::fs::create_dir(&keys).unwrap();
        let sender = WebhookSender::start(store, Reach::Everywhere);
        let begun = std::time::Instant::now();
        while log.count() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it was not tried");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(20 * ROUND_PAUSE).await;
        assert_eq!(log.count(), 1);
        sender.shutdown().await;
    }
}

//! Webhooks, and what they are still to be told. A delivery is written in the transaction of what it tells.

use hearth_domain::secret::Sealed;
use hearth_domain::webhook::job_event_type;
use hearth_domain::{AccountId, Job, Webhook};
use secrecy::SecretString;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::Store;
use super::job_event::{Change, cut};
use super::owned::{get_in, insert, put_in};
use crate::error::StoreError;
use crate::page::parse;

const KIND: &str = "webhook";
/// Deliveries of one webhook that wait; with one more the oldest is given up.
pub const WEBHOOK_QUEUE_MAX: i64 = 1000;

/// One message to one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Key of its row.
    pub seq: i64,
    /// Owner of the webhook.
    pub account: AccountId,
    /// Id of the webhook.
    pub webhook: String,
    /// Id of the message: the same however often it is sent.
    pub message_id: String,
    /// What is sent.
    pub body: String,
    /// Times that it was sent in vain.
    pub attempts: u32,
    /// When what it tells happened.
    pub create_time_ms: i64,
    /// Whether the last attempt to tell the webhook something failed.
    pub has_failed: bool,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookAttempt {
    /// It was taken in.
    Delivered,
    /// It was not, and is sent again at this time.
    Failed {
        /// Why.
        error: String,
        /// When it is sent again; everything else for the webhook waits as long.
        again_ms: i64,
    },
    /// It was not, and is not sent again.
    GivenUp {
        /// Why.
        error: String,
    },
}

/// Adds what the webhooks of the job's account want to know of a change.
pub(super) async fn enqueue(
    tx: &mut Transaction<'static, Sqlite>,
    job_key: i64,
    job: &Job,
    change: &Change<'_>,
    number: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, record FROM webhook WHERE account = ?1 ORDER BY id")
            .bind(job.account.as_str())
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::Database)?;
    let event_type = job_event_type(job.state);
    for (id, text) in rows {
        let webhook: Webhook = parse(KIND, &id, &text)?;
        if !webhook.wants(&event_type) {
            continue;
        }
        let message_id = format!("msg_{}", hex::encode(rand::random::<[u8; 16]>()));
        let body = json!({
            "id": message_id,
            "object": "event",
            "type": event_type,
            "created_at": now_ms.div_euclid(1000),
            "data": {
                "id": job.id.as_str(),
                "name": job.name(),
                "state": format!("JOB_STATE_{}", change.to.name()),
                "previousState": format!("JOB_STATE_{}", change.from.name()),
                "message": cut(change.message),
                "sequenceNumber": number.to_string(),
            },
        });
        sqlx::query(
            "INSERT INTO webhook_delivery
                 (account, webhook, job_key, message_id, body, create_time_ms, next_attempt_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )
        .bind(job.account.as_str())
        .bind(&id)
        .bind(job_key)
        .bind(&message_id)
        .bind(body.to_string())
        .bind(now_ms)
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
        make_room(tx, &webhook, now_ms).await?;
    }
    Ok(())
}

/// Gives the oldest delivery up if there are too many.
async fn make_room(
    tx: &mut Transaction<'static, Sqlite>,
    webhook: &Webhook,
    now_ms: i64,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "DELETE FROM webhook_delivery WHERE seq IN (
             SELECT seq FROM webhook_delivery WHERE account = ?1 AND webhook = ?2 ORDER BY seq DESC LIMIT -1 OFFSET ?3
         )",
    )
    .bind(webhook.account.as_str())
    .bind(webhook.id.as_str())
    .bind(WEBHOOK_QUEUE_MAX)
    .execute(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    let mut after = webhook.clone();
    after.health.dropped += done.rows_affected();
    after.update_time_ms = now_ms;
    put_in(tx, webhook, &after).await
}

impl Store {
    /// Adds a webhook that signs with `secret`. `ALREADY_EXISTS` if the id is taken, `NOT_FOUND` without the account.
    pub async fn webhook_create(
        &self,
        mut webhook: Webhook,
        secret: &SecretString,
    ) -> Result<Webhook, StoreError> {
        self.account_get(&webhook.account).await?;
        let mut tx = self.begin_write().await?;
        let name = webhook.name();
        webhook.sealed = self.keys_in(&mut tx, &name).await?.seal(&name, secret);
        insert(&mut *tx, &webhook).await?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(webhook)
    }

    /// A webhook with what it signs with. `FAILED_PRECONDITION` if that does not open.
    pub async fn webhook_secret(
        &self,
        account: &AccountId,
        id: &str,
    ) -> Result<(Webhook, SecretString), StoreError> {
        let mut tx = self.begin_write().await?;
        let webhook: Webhook = get_in(&mut tx, account, id).await?;
        let keys = self.secret_keys.read(&self.data_dir)?;
        let opened = keys.and_then(|keys| keys.open(&webhook.name(), &webhook.sealed).ok());
        let secret = opened.ok_or_else(|| StoreError::WrongState {
            kind: KIND,
            name: webhook.name(),
            message: "has what it signs with encrypted with a key that is not there any more; make it again",
        })?;
        Ok((webhook, secret))
    }

    /// Deliveries that can be tried now: those of webhooks that took in the last one first, then the longest due. Of one
    /// webhook only so many, and of one job only the oldest: the next waits for it.
    pub async fn webhook_due(
        &self,
        now_ms: i64,
        most: u32,
        most_per_webhook: u32,
    ) -> Result<Vec<WebhookDelivery>, StoreError> {
        let rows = sqlx::query(
            "SELECT due.*, (webhook.record ->> '$.health.consecutive_failures') > 0 AS has_failed
             FROM webhook JOIN webhook_delivery AS due ON due.seq IN (
                 SELECT seq FROM webhook_delivery AS one
                 WHERE one.account = webhook.account AND one.webhook = webhook.id AND next_attempt_ms <= ?1
                 AND NOT EXISTS (
                     SELECT 1 FROM webhook_delivery AS earlier
                     WHERE earlier.account = one.account AND earlier.webhook = one.webhook
                     AND earlier.job_key = one.job_key AND earlier.seq < one.seq
                 ) ORDER BY next_attempt_ms, seq LIMIT ?3
             ) ORDER BY has_failed, next_attempt_ms, seq LIMIT ?2",
        )
        .bind(now_ms)
        .bind(most)
        .bind(most_per_webhook)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        rows.iter().map(delivery).collect()
    }

    /// Takes down what became of an attempt. A webhook that was deleted meanwhile is no error.
    pub async fn webhook_attempted(
        &self,
        delivery: &WebhookDelivery,
        attempt: &WebhookAttempt,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let before = match get_in::<Webhook>(&mut tx, &delivery.account, &delivery.webhook).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        let mut after = before.clone();
        let health = &mut after.health;
        health.last_attempt_ms = Some(now_ms);
        let again_ms = match attempt {
            WebhookAttempt::Delivered => {
                health.last_success_ms = Some(now_ms);
                health.last_error.clear();
                // What waited for it to come back waits no longer.
                (std::mem::take(&mut health.consecutive_failures) > 0).then_some(now_ms)
            }
            WebhookAttempt::Failed { error, again_ms } => {
                health.consecutive_failures += 1;
                health.last_error.clone_from(error);
                Some(*again_ms)
            }
            WebhookAttempt::GivenUp { error } => {
                health.consecutive_failures += 1;
                health.last_error.clone_from(error);
                health.dropped += 1;
                None
            }
        };
        put_in(&mut tx, &before, &after).await?;
        let sql = match attempt {
            WebhookAttempt::Failed { .. } => {
                "UPDATE webhook_delivery SET attempts = attempts + 1 WHERE seq = ?1"
            }
            WebhookAttempt::Delivered | WebhookAttempt::GivenUp { .. } => {
                "DELETE FROM webhook_delivery WHERE seq = ?1"
            }
        };
        sqlx::query(sql).bind(delivery.seq).execute(&mut *tx).await.map_err(StoreError::Database)?;
        if let Some(again_ms) = again_ms {
            sqlx::query(
                "UPDATE webhook_delivery SET next_attempt_ms = ?3 WHERE account = ?1 AND webhook = ?2",
            )
            .bind(delivery.account.as_str())
            .bind(&delivery.webhook)
            .bind(again_ms)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::Database)?;
        }
        tx.commit().await.map_err(StoreError::Database)
    }
}

/// All that webhooks sign with.
pub(super) async fn sealed_in(
    tx: &mut Transaction<'static, Sqlite>,
) -> Result<Vec<(Webhook, String, Sealed)>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT id, record FROM webhook ORDER BY account, id")
        .fetch_all(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    rows.iter()
        .map(|(id, text)| {
            let webhook: Webhook = parse(KIND, id, text)?;
            let (name, sealed) = (webhook.name(), webhook.sealed.clone());
            Ok((webhook, name, sealed))
        })
        .collect()
}

fn delivery(row: &SqliteRow) -> Result<WebhookDelivery, StoreError> {
    let account: String = row.get("account");
    Ok(WebhookDelivery {
        seq: row.get("seq"),
        account: parse("account", &account, &json!(account).to_string())?,
        webhook: row.get("webhook"),
        message_id: row.get("message_id"),
        body: row.get("body"),
        attempts: u32::try_from(row.get::<i64, _>("attempts")).unwrap_or(u32::MAX),
        create_time_ms: row.get("create_time_ms"),
        has_failed: row.get("has_failed"),
    })
}

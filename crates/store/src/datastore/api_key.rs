//! API keys. A secret is 256 random bits behind `fw_`, shown once and stored as its SHA-256: there is nothing to
//! guess, so a slow password hash would protect nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_domain::{AccountId, ApiKey, KeyRights, User, UserId};
use sha2::{Digest, Sha256};

use super::Store;
use crate::columns::Listed;
use crate::condition::{Comparator, Condition, Value};
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery, Source, list, parse, record};

const KIND: &str = "api key";
/// What every secret begins with.
const SECRET_PREFIX: &str = "fw_";
/// Characters of a secret that are kept to recognise it by.
const SHOWN_CHARS: usize = 8;
/// Longest text that is looked up as a secret, in bytes.
const SECRET_MAX_BYTES: usize = 256;
/// Keys as lists show them: with the address that their user has now.
const LISTED: &str = "(SELECT api_key.rowid AS rowid, api_key.key_id AS id, api_key.account AS account, user.id AS user, \
     CASE WHEN user.id IS NULL THEN api_key.record \
     ELSE json_set(api_key.record, '$.email', user.record ->> '$.email') END AS record \
     FROM api_key LEFT JOIN user ON user.account = api_key.account AND user.id = api_key.record ->> '$.user')";

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Whose it is.
    pub user: User,
    /// For people.
    pub display_name: String,
    /// What gives it its rights.
    pub rights: KeyRights,
    /// When it stops working.
    pub expire_time_ms: Option<i64>,
}

/// What a secret opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundKey {
    /// The key.
    pub key: ApiKey,
    /// Its user as it is now; keys that were made before there were users have none.
    pub user: Option<User>,
    /// Its account is suspended.
    pub is_suspended: bool,
}

fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

impl Store {
    /// Makes a key and returns it with its secret, which nobody can read again.
    pub async fn api_key_create(&self, new: NewApiKey, now_ms: i64) -> Result<(ApiKey, String), StoreError> {
        let secret = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let key = ApiKey {
            key_id: hex::encode(rand::random::<[u8; 8]>()),
            account: new.user.account,
            user: Some(new.user.id),
            display_name: new.display_name,
            email: new.user.email,
            rights: new.rights,
            prefix: secret[..SHOWN_CHARS].to_owned(),
            create_time_ms: now_ms,
            expire_time_ms: new.expire_time_ms,
        };
        sqlx::query("INSERT INTO api_key (key_id, account, sha256, record) VALUES (?1, ?2, ?3, ?4)")
            .bind(&key.key_id)
            .bind(key.account.as_str())
            .bind(digest(&secret))
            .bind(record(&key))
            .execute(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        Ok((key, secret))
    }

    /// The key that has this secret and is valid now. A key of a user who is gone is not valid.
    pub async fn api_key_find(&self, secret: &str, now_ms: i64) -> Result<Option<FoundKey>, StoreError> {
        if secret.len() > SECRET_MAX_BYTES {
            return Ok(None);
        }
        let found: Option<(String, String, Option<String>, bool)> = sqlx::query_as(
            "SELECT api_key.key_id, api_key.record, user.record, \
             coalesce(account.record ->> '$.suspend_state', 'UNSUSPENDED') <> 'UNSUSPENDED' \
             FROM api_key LEFT JOIN account ON account.id = api_key.account LEFT JOIN user \
             ON user.account = api_key.account AND user.id = api_key.record ->> '$.user' \
             WHERE api_key.sha256 = ?1",
        )
        .bind(digest(secret))
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        let Some((key_id, key, user, is_suspended)) = found else { return Ok(None) };
        let key: ApiKey = parse(KIND, &key_id, &key)?;
        let user: Option<User> = user.map(|text| parse("user of key", &key_id, &text)).transpose()?;
        let is_valid = key.is_valid(now_ms) && key.user.is_some() == user.is_some();
        Ok(is_valid.then_some(FoundKey { key, user, is_suspended }))
    }

    /// A page of an account's keys, or of those of one user.
    pub async fn api_key_list(
        &self,
        account: &AccountId,
        user: Option<&UserId>,
        query: &ListQuery,
    ) -> Result<ListPage<ApiKey>, StoreError> {
        let shown = user.map_or(Condition::Always(true), |user| {
            let value = Value::Text(user.as_str().to_owned());
            Condition::Compare(Listed::API_KEY_USER, Comparator::Equal, value)
        });
        let (listed, account) = (Listed::ApiKey, Some(account.as_str()));
        list(self, Source { listed, rows: LISTED, kind: KIND, account, shown }, query).await
    }

    /// Reads a key of an account, or of one user.
    pub async fn api_key_get(
        &self,
        account: &AccountId,
        user: Option<&UserId>,
        key_id: &str,
    ) -> Result<ApiKey, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT record FROM api_key WHERE key_id = ?1 AND account = ?2")
                .bind(key_id)
                .bind(account.as_str())
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        let key: Option<ApiKey> = found.map(|text| parse(KIND, key_id, &text)).transpose()?;
        key.filter(|key| user.is_none_or(|user| key.user.as_ref() == Some(user)))
            .ok_or_else(|| StoreError::NotFound { kind: KIND, name: key_id.to_owned() })
    }

    /// Removes a key: it opens nothing from here on.
    pub async fn api_key_delete(&self, key: &ApiKey) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM api_key WHERE key_id = ?1")
            .bind(&key.key_id)
            .execute(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound { kind: KIND, name: key.key_id.clone() });
        }
        Ok(())
    }
}

//! API keys. A secret is 256 random bits behind `fw_`, shown once and stored as its SHA-256: there is nothing to
//! guess, so a slow password hash would protect nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_domain::{AccountId, ApiKey, Role};
use sha2::{Digest, Sha256};

use super::Store;
use crate::error::StoreError;
use crate::page::{parse, record};

const KIND: &str = "api key";
/// What every secret begins with.
const SECRET_PREFIX: &str = "fw_";
/// Characters of a secret that are kept to recognise it by.
const SHOWN_CHARS: usize = 8;
/// Longest text that is looked up as a secret, in bytes.
const SECRET_MAX_BYTES: usize = 256;

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The account that it opens.
    pub account: AccountId,
    /// For people.
    pub display_name: String,
    /// Whose it is.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// When it stops working.
    pub expire_time_ms: Option<i64>,
}

fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

impl Store {
    /// Makes a key and returns it with its secret, which nobody can read again. `NOT_FOUND` without the account.
    pub async fn api_key_create(&self, new: NewApiKey, now_ms: i64) -> Result<(ApiKey, String), StoreError> {
        self.account_get(&new.account).await?;
        let secret = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let key = ApiKey {
            key_id: hex::encode(rand::random::<[u8; 8]>()),
            account: new.account,
            display_name: new.display_name,
            email: new.email,
            role: new.role,
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

    /// The key that has this secret and is valid now.
    pub async fn api_key_find(&self, secret: &str, now_ms: i64) -> Result<Option<ApiKey>, StoreError> {
        if secret.len() > SECRET_MAX_BYTES {
            return Ok(None);
        }
        let found: Option<(String, String)> =
            sqlx::query_as("SELECT key_id, record FROM api_key WHERE sha256 = ?1")
                .bind(digest(secret))
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        let Some((key_id, text)) = found else { return Ok(None) };
        let key: ApiKey = parse(KIND, &key_id, &text)?;
        Ok(Some(key).filter(|key| key.expire_time_ms.is_none_or(|end_ms| now_ms < end_ms)))
    }
}

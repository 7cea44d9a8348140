//! Operations, beyond the verbs that they share with others: what their work needs and nobody may read.

use hearth_domain::Operation;
use hearth_domain::secret::Sealed;
use secrecy::SecretString;
use sqlx::{Sqlite, Transaction};

use super::Store;
use crate::error::StoreError;
use crate::page::parse;

const KIND: &str = "operation";

/// Ids of the keys that open what operations hold which are not at their end.
pub(super) async fn keys_used(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<String>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, record FROM operation WHERE record ->> '$.end' IS NULL")
            .fetch_all(&mut **tx)
            .await
            .map_err(StoreError::Database)?;
    let mut used = Vec::new();
    for (id, text) in rows {
        let operation: Operation = parse(KIND, &id, &text)?;
        used.extend(operation.sealed().map(|sealed| sealed.key_id.clone()));
    }
    Ok(used)
}

impl Store {
    /// Encrypts what an operation needs, for its record. It opens for an operation of this name only.
    pub async fn operation_seal(&self, name: &str, value: &SecretString) -> Result<Sealed, StoreError> {
        let mut tx = self.begin_write().await?;
        Ok(self.keys_in(&mut tx, &name).await?.seal(&name, value))
    }

    /// Decrypts it. `FAILED_PRECONDITION` if it does not open.
    pub async fn operation_unseal(&self, name: &str, sealed: &Sealed) -> Result<SecretString, StoreError> {
        let _lock = self.begin_write().await?;
        let keys = self.secret_keys.read(&self.data_dir)?;
        let opened = keys.and_then(|keys| keys.open(&name, sealed).ok());
        opened.ok_or_else(|| StoreError::WrongState {
            kind: KIND,
            name: name.to_owned(),
            message: "has what it needs encrypted with a key that is not there any more; begin it again",
        })
    }
}

//! Secrets. Their values are encrypted before they reach the database, and opened only for the server itself.
//!
//! Keys are read whenever they are used, inside the transaction that uses them, and they are changed inside one: so a
//! rotation by another process never comes between a key and what is encrypted with it.

use std::fmt;

use hearth_domain::secret::{Secret, SecretRef};
use secrecy::SecretString;
use sqlx::{Sqlite, Transaction};

use super::Store;
use super::operation;
use super::owned::{get_in, insert, put_in};
use super::sealed::{self, SealedRow};
use crate::error::StoreError;
use crate::keyring::{Closed, Keyring};
use crate::page::parse;

const KIND: &str = "secret";

/// A secret to be made.
#[derive(Debug)]
pub struct NewSecret {
    /// Its name.
    pub name: SecretRef,
    /// What the value is called where it is used.
    pub key_name: String,
    /// The value.
    pub value: SecretString,
}

/// Why something encrypted does not open, as its owner is told.
fn closed(kind: &'static str, name: String, why: &Closed) -> StoreError {
    let message = match why {
        Closed::NoKey => {
            "is encrypted with a key that this server does not have; give it that key, or set the value again"
        }
        Closed::Altered => {
            "does not open with its key: the key or what is stored is not what it was; set the value again"
        }
    };
    StoreError::WrongState { kind, name, message }
}

/// The secrets of all accounts.
pub(super) async fn all_in(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<Secret>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT id, record FROM secret ORDER BY account, id")
        .fetch_all(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    rows.iter().map(|(id, text)| parse(KIND, id, text)).collect()
}

impl Store {
    /// The keys, for an encryption in this transaction. The first one is made here; a file that is gone is not made
    /// again as long as something is encrypted with what was in it.
    pub(super) async fn keys_in(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        name: &(dyn fmt::Display + Sync),
    ) -> Result<Keyring, StoreError> {
        if let Some(keys) = self.secret_keys.read(&self.data_dir)? {
            return Ok(keys);
        }
        if !sealed::all_in(tx).await?.is_empty() {
            let message = "cannot be encrypted: other secrets are there and the file with their key is not; the \
                           operator has to put it back";
            return Err(StoreError::WrongState { kind: KIND, name: name.to_string(), message });
        }
        let keys = Keyring::random();
        if let Some(file) = self.secret_keys.file(&self.data_dir) {
            keys.write(&file)?;
        }
        Ok(keys)
    }

    /// Adds a secret. `ALREADY_EXISTS` if the id is taken, `NOT_FOUND` without the account.
    pub async fn secret_create(&self, new: &NewSecret, now_ms: i64) -> Result<Secret, StoreError> {
        self.account_get(&new.name.account).await?;
        let mut tx = self.begin_write().await?;
        let keys = self.keys_in(&mut tx, &new.name).await?;
        let secret = Secret {
            account: new.name.account.clone(),
            id: new.name.id.clone(),
            key_name: new.key_name.clone(),
            sealed: keys.seal(&new.name, &new.value),
            create_time_ms: now_ms,
            update_time_ms: now_ms,
        };
        insert(&mut *tx, &secret).await?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(secret)
    }

    /// Changes what is given of a secret.
    pub async fn secret_update(
        &self,
        name: &SecretRef,
        key_name: Option<String>,
        value: Option<&SecretString>,
        now_ms: i64,
    ) -> Result<Secret, StoreError> {
        let mut tx = self.begin_write().await?;
        let before: Secret = get_in(&mut tx, &name.account, name.id.as_str()).await?;
        let mut after = Secret { update_time_ms: now_ms, ..before.clone() };
        if let Some(key_name) = key_name {
            after.key_name = key_name;
        }
        if let Some(value) = value {
            after.sealed = self.keys_in(&mut tx, name).await?.seal(name, value);
        }
        put_in(&mut tx, &before, &after).await?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(after)
    }

    /// The value of a secret, for the server's own use: it goes into no reply and no log. `NOT_FOUND` without the
    /// secret, `FAILED_PRECONDITION` if it does not open.
    pub async fn secret_value(&self, name: &SecretRef) -> Result<SecretString, StoreError> {
        let mut tx = self.begin_write().await?;
        let secret: Secret = get_in(&mut tx, &name.account, name.id.as_str()).await?;
        let keys = self.secret_keys.read(&self.data_dir)?;
        let opened = keys.ok_or(Closed::NoKey).and_then(|keys| keys.open(name, &secret.sealed));
        opened.map_err(|why| closed(KIND, name.to_string(), &why))
    }

    /// What does not open of all that is encrypted, of all accounts: for each an error that says why.
    pub async fn secrets_closed(&self) -> Result<Vec<StoreError>, StoreError> {
        let mut tx = self.begin_write().await?;
        let all = sealed::all_in(&mut tx).await?;
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.secret_keys.read(&self.data_dir)?;
        let error = |row: &SealedRow| {
            let opened = match &keys {
                Some(keys) => keys.open(&row.name, &row.sealed).map(drop),
                None => Err(Closed::NoKey),
            };
            opened.err().map(|why| closed(row.kind(), row.name.clone(), &why))
        };
        Ok(all.iter().filter_map(error).collect())
    }

    /// Encrypts everything anew (secrets, what webhooks sign with, keys for Weights & Biases) and returns how much there is: with the key file under a new key, after which the
    /// old ones are forgotten; with given keys under the last of them. A server may go on meanwhile.
    ///
    /// Killed at any point, it leaves a directory in which every secret opens: the new key is on disk before anything is
    /// encrypted with it, all rows change in one transaction, and old keys go last. Run again, it ends the work.
    pub async fn secrets_rotate(&self) -> Result<usize, StoreError> {
        self.rotation_adds_a_key().await?;
        let count = self.rotation_encrypts().await?;
        self.rotation_forgets().await?;
        Ok(count)
    }

    async fn rotation_adds_a_key(&self) -> Result<(), StoreError> {
        let _lock = self.begin_write().await?;
        let Some(file) = self.secret_keys.file(&self.data_dir) else { return Ok(()) };
        let Some(mut keys) = self.secret_keys.read(&self.data_dir)? else { return Ok(()) };
        keys.add();
        keys.write(&file)
    }

    /// All in one transaction. A secret that does not open stops it.
    async fn rotation_encrypts(&self) -> Result<usize, StoreError> {
        let mut tx = self.begin_write().await?;
        let all = sealed::all_in(&mut tx).await?;
        let keys = self.secret_keys.read(&self.data_dir)?;
        for row in &all {
            let error = |why: &Closed| closed(row.kind(), row.name.clone(), why);
            let keys = keys.as_ref().ok_or_else(|| error(&Closed::NoKey))?;
            let value = keys.open(&row.name, &row.sealed).map_err(|why| error(&why))?;
            row.put(&mut tx, keys.seal(&row.name, &value)).await?;
        }
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(all.len())
    }

    async fn rotation_forgets(&self) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let Some(file) = self.secret_keys.file(&self.data_dir) else { return Ok(()) };
        let Some(mut keys) = self.secret_keys.read(&self.data_dir)? else { return Ok(()) };
        // What another process encrypted meanwhile has the last key, which it read as we did; to be sure, look.
        let mut used: Vec<String> =
            sealed::all_in(&mut tx).await?.into_iter().map(|row| row.sealed.key_id).collect();
        used.extend(operation::keys_used(&mut tx).await?);
        keys.forget_all_but(&used);
        keys.write(&file)
    }
}

#[cfg(test)]
mod tests;

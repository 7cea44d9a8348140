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

/// Why a value does not open, as the owner of the secret is told.
fn closed(name: &SecretRef, why: &Closed) -> StoreError {
    let message = match why {
        Closed::NoKey => {
            "is encrypted with a key that this server does not have; give it that key, or set the secret's value again"
        }
        Closed::Altered => {
            "does not open with its key: the key or what is stored is not what it was; set the secret's value again"
        }
    };
    StoreError::WrongState { kind: KIND, name: name.to_string(), message }
}

async fn all_in(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<Secret>, StoreError> {
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
        if !all_in(tx).await?.is_empty() {
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
        opened.map_err(|why| closed(name, &why))
    }

    /// What does not open of the secrets of all accounts: for each an error that says why.
    pub async fn secrets_closed(&self) -> Result<Vec<StoreError>, StoreError> {
        let mut tx = self.begin_write().await?;
        let secrets = all_in(&mut tx).await?;
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.secret_keys.read(&self.data_dir)?;
        let error = |secret: &Secret| {
            let opened = match &keys {
                Some(keys) => keys.open(&secret.name(), &secret.sealed).map(drop),
                None => Err(Closed::NoKey),
            };
            opened.err().map(|why| closed(&secret.name(), &why))
        };
        Ok(secrets.iter().filter_map(error).collect())
    }

    /// Encrypts every secret anew and returns how many there are: with the key file under a new key, after which the
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
        let secrets = all_in(&mut tx).await?;
        let keys = self.secret_keys.read(&self.data_dir)?;
        for before in &secrets {
            let name = before.name();
            let keys = keys.as_ref().ok_or_else(|| closed(&name, &Closed::NoKey))?;
            let value = keys.open(&name, &before.sealed).map_err(|why| closed(&name, &why))?;
            let after = Secret { sealed: keys.seal(&name, &value), ..before.clone() };
            put_in(&mut tx, before, &after).await?;
        }
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(secrets.len())
    }

    async fn rotation_forgets(&self) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let Some(file) = self.secret_keys.file(&self.data_dir) else { return Ok(()) };
        let Some(mut keys) = self.secret_keys.read(&self.data_dir)? else { return Ok(()) };
        // What another process encrypted meanwhile has the last key, which it read as we did; to be sure, look.
        let mut used: Vec<String> =
            all_in(&mut tx).await?.into_iter().map(|secret| secret.sealed.key_id).collect();
        used.extend(operation::keys_used(&mut tx).await?);
        keys.forget_all_but(&used);
        keys.write(&file)
    }
}

#[cfg(test)]
mod tests;

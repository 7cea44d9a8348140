//! All that is encrypted in the database, whatever it belongs to: what a rotation of keys has to go through.

use hearth_domain::secret::Sealed;
use hearth_domain::{Secret, Webhook};
use sqlx::{Sqlite, Transaction};

use super::owned::put_in;
use super::{secret, wandb, webhook};
use crate::error::StoreError;

/// Something encrypted.
pub(super) struct SealedRow {
    /// Name that it is bound to.
    pub(super) name: String,
    pub(super) sealed: Sealed,
    place: Place,
}

/// Where it stands.
enum Place {
    Secret(Box<Secret>),
    Webhook(Box<Webhook>),
    /// By the key of the job's row.
    Wandb(i64),
}

impl SealedRow {
    /// What errors call it.
    pub(super) fn kind(&self) -> &'static str {
        match self.place {
            Place::Secret(_) => "secret",
            Place::Webhook(_) => "webhook",
            Place::Wandb(_) => "key for Weights & Biases",
        }
    }

    /// Puts the same value, encrypted anew, in its place.
    pub(super) async fn put(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        sealed: Sealed,
    ) -> Result<(), StoreError> {
        match &self.place {
            Place::Secret(before) => put_in(tx, &**before, &Secret { sealed, ..(**before).clone() }).await,
            Place::Webhook(before) => put_in(tx, &**before, &Webhook { sealed, ..(**before).clone() }).await,
            Place::Wandb(job_key) => wandb::put_key(tx, *job_key, Some(&sealed)).await,
        }
    }
}

/// Everything, but for what operations hold, which ends with them.
pub(super) async fn all_in(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<SealedRow>, StoreError> {
    let mut all = Vec::new();
    for secret in secret::all_in(tx).await? {
        let (name, sealed) = (secret.name().to_string(), secret.sealed.clone());
        all.push(SealedRow { name, sealed, place: Place::Secret(Box::new(secret)) });
    }
    for (webhook, name, sealed) in webhook::sealed_in(tx).await? {
        all.push(SealedRow { name, sealed, place: Place::Webhook(Box::new(webhook)) });
    }
    for (job_key, name, sealed) in wandb::keys_in(tx).await? {
        all.push(SealedRow { name, sealed, place: Place::Wandb(job_key) });
    }
    Ok(all)
}

#[cfg(test)]
mod tests;

//! Checks of datasets, beyond the verbs that they share with others.

use hearth_domain::{AccountId, DatasetValidationJob};

use super::{Owned, Store};
use crate::error::StoreError;
use crate::page::parse;

impl Store {
    /// The checks that are not at their end, of all accounts, oldest first. They have no reports yet; those of the others are
    /// not read.
    pub async fn dataset_validation_jobs_open(&self) -> Result<Vec<DatasetValidationJob>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, record FROM dataset_validation_job
             WHERE record ->> '$.state' NOT IN ('completed', 'failed')
             ORDER BY create_time_ms, account, id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        rows.iter().map(|(id, text)| parse(DatasetValidationJob::KIND, id, text)).collect()
    }

    /// Removes the oldest checks of an account that are at their end, so that at most `kept_max` of these stay.
    pub async fn dataset_validation_jobs_trim(
        &self,
        account: &AccountId,
        kept_max: u32,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM dataset_validation_job WHERE account = ?1 AND id IN (
                 SELECT id FROM dataset_validation_job
                 WHERE account = ?1 AND record ->> '$.state' IN ('completed', 'failed')
                 ORDER BY create_time_ms DESC, id DESC LIMIT -1 OFFSET ?2)",
        )
        .bind(account.as_str())
        .bind(kept_max)
        .execute(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        Ok(())
    }
}

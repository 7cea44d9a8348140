//! Batch inference jobs, beyond the verbs that they share with others.

use hearth_domain::BatchInferenceJob;

use super::Store;
use crate::error::StoreError;
use crate::page::parse;

impl Store {
    /// The oldest job that is not at its end, of all accounts that are not suspended.
    pub async fn batch_inference_job_next(&self) -> Result<Option<BatchInferenceJob>, StoreError> {
        let found: Option<(String, String)> = sqlx::query_as(
            "SELECT id, record FROM batch_inference_job
             WHERE record ->> '$.state' NOT IN ('COMPLETED', 'FAILED')
               AND NOT EXISTS (
                   SELECT 1 FROM account WHERE account.id = batch_inference_job.account
                   AND coalesce(account.record ->> '$.suspend_state', 'UNSUSPENDED') <> 'UNSUSPENDED')
             ORDER BY create_time_ms, account, id LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::Database)?;
        found.map(|(id, text)| parse("batch inference job", &id, &text)).transpose()
    }
}

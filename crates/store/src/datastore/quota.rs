//! How much accounts have of what there are quotas of. It is counted where it is, so it is always true.

use hearth_domain::{AccountId, Quota, QuotaKind};

use super::Store;
use super::job::closed;
use crate::columns::Listed;
use crate::condition::Condition;
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery, Source, list_values};

/// Jobs that are not at their end, as the index over them says it.
const OPEN_JOBS: &str = concat!("SELECT count(*) FROM job WHERE account = ?1 AND state NOT IN ", closed!());

impl Store {
    /// How many an account has.
    pub async fn quota_usage(&self, account: &AccountId, kind: QuotaKind) -> Result<u64, StoreError> {
        let queries = match kind {
            QuotaKind::ApiKeys => &["SELECT count(*) FROM api_key WHERE account = ?1"][..],
            QuotaKind::Datasets => &["SELECT count(*) FROM dataset WHERE account = ?1"],
            QuotaKind::Deployments => &["SELECT count(*) FROM deployment WHERE account = ?1"],
            QuotaKind::Models => &[
                "SELECT count(*) FROM model WHERE account = ?1",
                OPEN_JOBS,
                // What an import fills is there already.
                "SELECT count(*) FROM operation
                 WHERE account = ?1 AND record ->> '$.end' IS NULL AND record ->> '$.work.kind' = 'promote'",
            ],
            QuotaKind::OpenBatchInferenceJobs => {
                &["SELECT count(*) FROM batch_inference_job WHERE account = ?1
                 AND record ->> '$.state' NOT IN ('COMPLETED', 'FAILED')"]
            }
            QuotaKind::OpenSupervisedFineTuningJobs => &[OPEN_JOBS],
            QuotaKind::RunningSupervisedFineTuningJobs => &["SELECT count(*) FROM job WHERE account = ?1
                 AND state IN ('CREATING_INPUT_DATASET', 'VALIDATING', 'RUNNING', 'WRITING_RESULTS')"],
            QuotaKind::Secrets => &["SELECT count(*) FROM secret WHERE account = ?1"],
            QuotaKind::Users => &["SELECT count(*) FROM user WHERE account = ?1"],
        };
        // Together, so that a job that ends meanwhile does not count twice or not at all.
        let mut tx = self.begin_read().await?;
        let mut usage = 0;
        for query in queries {
            let count: i64 = sqlx::query_scalar(*query)
                .bind(account.as_str())
                .fetch_one(&mut *tx)
                .await
                .map_err(StoreError::Database)?;
            usage += u64::try_from(count).expect("a count is not below 0");
        }
        Ok(usage)
    }

    /// A page of an account's quotas.
    pub async fn quota_list(
        &self,
        account: &AccountId,
        quotas: Vec<Quota>,
        query: &ListQuery,
    ) -> Result<ListPage<Quota>, StoreError> {
        let (account, shown) = (Some(account.as_str()), Condition::Always(true));
        let source = Source { listed: Listed::Quota, rows: "quota", kind: "quota", account, shown };
        list_values(self, source, quotas, query).await
    }
}

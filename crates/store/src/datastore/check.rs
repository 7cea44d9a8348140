//! Whether the database answers, and how much of what it holds.

use hearth_domain::JobState;

use super::Store;
use crate::error::StoreError;

impl Store {
    /// Reads one row.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM account LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .map(drop)
            .map_err(StoreError::Database)
    }

    /// How many jobs of all accounts are in each state.
    pub async fn job_counts(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT state, COUNT(*) FROM job GROUP BY state")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        let count = |state: &JobState| {
            let found = rows.iter().find(|(name, _)| name == state.name());
            found.map_or(0, |(_, count)| u64::try_from(*count).unwrap_or(0))
        };
        Ok(JobState::ALL.iter().map(|state| (*state, count(state))).collect())
    }
}

//! An index that holds everything that a list of jobs can be filtered and sorted by.
//!
//! Records are JSON, and taking a field out of a hundred thousand of them takes a third of a second. The index holds
//! the fields themselves, so such a list reads the index alone, and the records of its one page. It is made of the
//! table of columns, and made again when that table has changed.

use sqlx::{AssertSqlSafe, SqlitePool};

use crate::columns::Listed;
use crate::error::StoreError;

/// Name of the index over jobs.
pub(crate) const JOB_LIST: &str = "job_list";
/// Which jobs lists show. All are in the index: of one that held only these, the planner cannot always see that it
/// has them.
pub(crate) const JOB_CONDITION: &str = "state <> 'DELETING'";

/// The statement that makes the index.
fn definition() -> String {
    let mut parts = vec!["account", "create_time_ms", "id", "state"];
    let mut fields: Vec<&str> = Listed::Job.columns().map(|column| column.sql).collect();
    fields.retain(|sql| sql.contains("record"));
    fields.sort_unstable();
    fields.dedup();
    let fields: Vec<String> = fields.into_iter().map(|sql| format!("({sql})")).collect();
    parts.extend(fields.iter().map(String::as_str));
    format!("CREATE INDEX {JOB_LIST} ON job ({})", parts.join(", "))
}

/// Makes the index, unless it is there as it should be.
pub(crate) async fn ensure(pool: &SqlitePool) -> Result<(), StoreError> {
    let wanted = definition();
    let found: Option<String> =
        sqlx::query_scalar("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?1")
            .bind(JOB_LIST)
            .fetch_optional(pool)
            .await
            .map_err(StoreError::Database)?;
    if found.as_deref() == Some(wanted.as_str()) {
        return Ok(());
    }
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::Database)?;
    for statement in [format!("DROP INDEX IF EXISTS {JOB_LIST}"), wanted] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(StoreError::Database)?;
    }
    tx.commit().await.map_err(StoreError::Database)
}

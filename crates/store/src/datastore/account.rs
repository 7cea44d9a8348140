//! Accounts.

use hearth_domain::{Account, AccountId, SuspendState};
use sqlx::{Sqlite, Transaction};

use super::{Store, job};
use crate::columns::Listed;
use crate::condition::Condition;
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery, Source, insert_error, list, parse, record};

const KIND: &str = "account";

impl Store {
    /// Adds an account. `ALREADY_EXISTS` if the id is taken.
    pub async fn account_create(&self, account: &Account) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO account (id, create_time_ms, record) VALUES (?1, ?2, ?3)")
            .bind(account.id.as_str())
            .bind(account.create_time_ms)
            .bind(record(account))
            .execute(&self.pool)
            .await
            .map_err(insert_error(KIND, account.name()))?;
        Ok(())
    }

    /// Reads an account.
    pub async fn account_get(&self, id: &AccountId) -> Result<Account, StoreError> {
        let found: Option<String> = sqlx::query_scalar("SELECT record FROM account WHERE id = ?1")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        let text =
            found.ok_or_else(|| StoreError::NotFound { kind: KIND, name: format!("accounts/{id}") })?;
        parse(KIND, id.as_str(), &text)
    }

    /// `FAILED_PRECONDITION` if the account is suspended.
    pub async fn account_check(&self, id: &AccountId) -> Result<(), StoreError> {
        let mut tx = self.begin_read().await?;
        must_not_be_suspended(&mut tx, id).await
    }

    /// Suspends an account and stops its jobs, or lifts it and lets those go on that it stopped: in one transaction.
    pub async fn account_suspend(
        &self,
        id: &AccountId,
        state: SuspendState,
        now_ms: i64,
    ) -> Result<Account, StoreError> {
        let mut tx = self.begin_write().await?;
        let found: Option<String> = sqlx::query_scalar("SELECT record FROM account WHERE id = ?1")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::Database)?;
        let text =
            found.ok_or_else(|| StoreError::NotFound { kind: KIND, name: format!("accounts/{id}") })?;
        let mut account: Account = parse(KIND, id.as_str(), &text)?;
        if account.suspend_state == state {
            return Ok(account);
        }
        account.suspend_state = state;
        account.update_time_ms = now_ms;
        sqlx::query("UPDATE account SET record = ?2 WHERE id = ?1")
            .bind(id.as_str())
            .bind(record(&account))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::Database)?;
        job::set_suspended(&mut tx, id, state != SuspendState::Unsuspended, now_ms).await?;
        self.commit_job(tx).await?;
        Ok(account)
    }

    /// A page of all accounts.
    pub async fn account_list(&self, query: &ListQuery) -> Result<ListPage<Account>, StoreError> {
        let listed = Listed::Account;
        let source =
            Source { listed, rows: "account", kind: KIND, account: None, shown: Condition::Always(true) };
        list(self, source, query).await
    }
}

/// `FAILED_PRECONDITION` if the account is suspended.
pub(super) async fn must_not_be_suspended(
    tx: &mut Transaction<'static, Sqlite>,
    id: &AccountId,
) -> Result<(), StoreError> {
    let state: Option<String> = sqlx::query_scalar(
        "SELECT coalesce(record ->> '$.suspend_state', 'UNSUSPENDED') FROM account WHERE id = ?1",
    )
    .bind(id.as_str())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::Database)?;
    match state {
        Some(state) if state != SuspendState::Unsuspended.name() => {
            Err(StoreError::Suspended { name: format!("accounts/{id}") })
        }
        _ => Ok(()),
    }
}

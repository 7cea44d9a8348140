//! Accounts.

use hearth_domain::{Account, AccountId};

use super::Store;
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

    /// A page of all accounts.
    pub async fn account_list(&self, query: &ListQuery) -> Result<ListPage<Account>, StoreError> {
        let listed = Listed::Account;
        let source =
            Source { listed, rows: "account", kind: KIND, account: None, shown: Condition::Always(true) };
        list(self, source, query).await
    }
}

//! Resources of an account that are one record each: the verbs that they share.

use hearth_domain::{
    AccountId, BatchInferenceJob, Dataset, DatasetValidationJob, DeployedModel, Deployment, Model, Operation,
    Secret, User, Webhook,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Sqlite, Transaction};

use super::Store;
use crate::columns::Listed;
use crate::condition::Condition;
use crate::error::StoreError;
use crate::page::{ListPage, ListQuery, PAGE_SIZE_MAX, Source, insert_error, list, parse, record};

/// A record in a table `(account, id, create_time_ms, record)`.
///
/// Account, id and creation time never change.
pub trait Owned: Clone + Serialize + DeserializeOwned + Send + Sync + Unpin {
    /// The table.
    const TABLE: &'static str;
    /// What errors call it.
    const KIND: &'static str;
    /// Collection in the resource name, for example `datasets`.
    const COLLECTION: &'static str;

    /// Owner.
    fn account(&self) -> &AccountId;
    /// Id in its account.
    fn id(&self) -> &str;
    /// When it was made, in milliseconds since the Unix epoch.
    fn create_time_ms(&self) -> i64;
}

/// Binds a record of `domain` to its table.
macro_rules! owned {
    ($($record:ty: $table:literal, $kind:literal, $collection:literal;)+) => {$(
        impl Owned for $record {
            const TABLE: &'static str = $table;
            const KIND: &'static str = $kind;
            const COLLECTION: &'static str = $collection;

            fn account(&self) -> &AccountId {
                &self.account
            }

            fn id(&self) -> &str {
                self.id.as_str()
            }

            fn create_time_ms(&self) -> i64 {
                self.create_time_ms
            }
        }
    )+};
}

owned! {
    Dataset: "dataset", "dataset", "datasets";
    DatasetValidationJob: "dataset_validation_job", "dataset validation job", "datasetValidationJobs";
    User: "user", "user", "users";
    BatchInferenceJob: "batch_inference_job", "batch inference job", "batchInferenceJobs";
    Model: "model", "model", "models";
    Operation: "operation", "operation", "operations";
    Secret: "secret", "secret", "secrets";
    Webhook: "webhook", "webhook", "webhooks";
    Deployment: "deployment", "deployment", "deployments";
    DeployedModel: "deployed_model", "deployed model", "deployedModels";
}

/// A record that lists show.
pub trait ListedRecord: Owned {
    /// Its columns.
    const LISTED: Listed;
}

macro_rules! listed {
    ($($record:ident,)+) => {
        $(impl ListedRecord for $record {
            const LISTED: Listed = Listed::$record;
        })+
    };
}

listed! { Dataset, User, BatchInferenceJob, Model, Secret, Deployment, DeployedModel, Webhook, }

/// `accounts/{account}/{collection}/{id}`.
fn name<T: Owned>(account: &AccountId, id: &str) -> String {
    format!("accounts/{account}/{}/{id}", T::COLLECTION)
}

fn not_found<T: Owned>(account: &AccountId, id: &str) -> StoreError {
    StoreError::NotFound { kind: T::KIND, name: name::<T>(account, id) }
}

/// SQL of this module for one table. The table's name is a constant of this crate.
fn sql<T: Owned>(text: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.replace("{table}", T::TABLE))
}

/// Adds a record, perhaps as a part of a transaction.
pub(super) async fn insert<T: Owned>(
    executor: impl sqlx::SqliteExecutor<'_>,
    new: &T,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO {table} (account, id, create_time_ms, record) VALUES (?1, ?2, ?3, ?4)";
    sqlx::query(sql::<T>(insert))
        .bind(new.account().as_str())
        .bind(new.id())
        .bind(new.create_time_ms())
        .bind(record(new))
        .execute(executor)
        .await
        .map_err(insert_error(T::KIND, name::<T>(new.account(), new.id())))?;
    Ok(())
}

/// Reads a record that is to be changed.
pub(super) async fn get_in<T: Owned>(
    tx: &mut Transaction<'static, Sqlite>,
    account: &AccountId,
    id: &str,
) -> Result<T, StoreError> {
    let found: Option<String> =
        sqlx::query_scalar(sql::<T>("SELECT record FROM {table} WHERE account = ?1 AND id = ?2"))
            .bind(account.as_str())
            .bind(id)
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::Database)?;
    parse(T::KIND, id, &found.ok_or_else(|| not_found::<T>(account, id))?)
}

/// Writes a record that was changed.
pub(super) async fn put_in<T: Owned>(
    tx: &mut Transaction<'static, Sqlite>,
    before: &T,
    after: &T,
) -> Result<(), StoreError> {
    assert_eq!((after.account(), after.id()), (before.account(), before.id()), "a change keeps the name");
    assert_eq!(after.create_time_ms(), before.create_time_ms(), "a change keeps the creation time");
    sqlx::query(sql::<T>("UPDATE {table} SET record = ?3 WHERE account = ?1 AND id = ?2"))
        .bind(after.account().as_str())
        .bind(after.id())
        .bind(record(after))
        .execute(&mut **tx)
        .await
        .map_err(StoreError::Database)?;
    Ok(())
}

impl Store {
    /// Adds a record. `ALREADY_EXISTS` if the id is taken.
    pub async fn create<T: Owned>(&self, new: &T) -> Result<(), StoreError> {
        insert(&self.pool, new).await
    }

    /// Reads a record.
    pub async fn get<T: Owned>(&self, account: &AccountId, id: &str) -> Result<T, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar(sql::<T>("SELECT record FROM {table} WHERE account = ?1 AND id = ?2"))
                .bind(account.as_str())
                .bind(id)
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        parse(T::KIND, id, &found.ok_or_else(|| not_found::<T>(account, id))?)
    }

    /// A page of an account's records.
    pub async fn list<T: ListedRecord>(
        &self,
        account: &AccountId,
        query: &ListQuery,
    ) -> Result<ListPage<T>, StoreError> {
        let (rows, kind, account) = (T::TABLE, T::KIND, Some(account.as_str()));
        let source = Source { listed: T::LISTED, rows, kind, account, shown: Condition::Always(true) };
        list(self, source, query).await
    }

    /// An account's first records by id, `most` at most.
    pub async fn first<T: ListedRecord>(
        &self,
        account: &AccountId,
        most: usize,
    ) -> Result<Vec<T>, StoreError> {
        let (mut items, mut query) =
            (Vec::new(), ListQuery { page_size: PAGE_SIZE_MAX, ..ListQuery::default() });
        while items.len() < most {
            let page = self.list::<T>(account, &query).await?;
            items.extend(page.items);
            query.page_token = page.next_page_token;
            if query.page_token.is_empty() {
                break;
            }
        }
        items.truncate(most);
        Ok(items)
    }

    /// Every record of every account, oldest first: what a server looks at once, when it starts.
    pub async fn all<T: Owned>(&self) -> Result<Vec<T>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as(sql::<T>("SELECT id, record FROM {table} ORDER BY create_time_ms, account, id"))
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::Database)?;
        rows.iter().map(|(id, text)| parse(T::KIND, id, text)).collect()
    }

    /// Changes a record: reads it, lets `change` decide, writes it, all in one transaction. An error of `change`
    /// leaves it as it was.
    pub async fn update<T: Owned, E: From<StoreError>>(
        &self,
        account: &AccountId,
        id: &str,
        change: impl FnOnce(&mut T) -> Result<(), E> + Send,
    ) -> Result<T, E> {
        let mut tx = self.begin_write().await?;
        let before: T = get_in(&mut tx, account, id).await?;
        let mut changed = before.clone();
        change(&mut changed)?;
        put_in(&mut tx, &before, &changed).await?;
        tx.commit().await.map_err(StoreError::Database)?;
        Ok(changed)
    }

    /// Removes a record. `NOT_FOUND` if it is not there.
    pub async fn delete<T: Owned>(&self, account: &AccountId, id: &str) -> Result<(), StoreError> {
        let done = sqlx::query(sql::<T>("DELETE FROM {table} WHERE account = ?1 AND id = ?2"))
            .bind(account.as_str())
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(StoreError::Database)?;
        if done.rows_affected() == 0 { Err(not_found::<T>(account, id)) } else { Ok(()) }
    }
}

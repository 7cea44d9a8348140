//! Keeps the fields of lists in memory as the database has them.
//!
//! Triggers write every change of a listed table, whoever makes it, to the table `list_change`: which table, and which
//! row. Before a list is read, the rows that changed since the last time are read again.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, Sqlite, SqlitePool, Transaction, TypeInfo, ValueRef};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::columns::Listed;
use crate::error::StoreError;
use crate::fields::{Cell, Fields};
use crate::page::Source;

/// Changes that are remembered. A list that missed more is read anew.
const CHANGES_MAX: u32 = 20_000;

/// The lists of one database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(Arc<Mutex<ByRows>>);

/// Each list, by what its rows are read from.
type ByRows = HashMap<&'static str, Arc<Mutex<ListRows>>>;

impl Lists {
    /// The rows of a list, for one reader at a time.
    pub async fn rows(&self, source: &Source<'_>) -> OwnedMutexGuard<ListRows> {
        let new = || Arc::new(Mutex::new(ListRows::new(source)));
        let rows = self.0.lock().await.entry(source.rows).or_insert_with(new).clone();
        rows.lock_owned().await
    }
}

/// The rows of one list, of all accounts.
#[derive(Debug)]
pub(crate) struct ListRows {
    rows: &'static str,
    tables: &'static [&'static str],
    fields: Fields,
    /// The last change that the fields have; `None` before they are read for the first time.
    seen: Option<i64>,
}

impl ListRows {
    fn new(source: &Source<'_>) -> Self {
        let tables = source.listed.tables();
        // A list of one table alone does not change with the others.
        let tables = if source.rows == tables[0] { &tables[..1] } else { tables };
        let account = if source.account.is_some() { "account" } else { "''" };
        let fields = Fields::new(account, "id", source.listed.columns());
        Self { rows: source.rows, tables, fields, seen: None }
    }

    /// What was read.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Reads what has changed. The fields are then those of the transaction.
    pub async fn bring_up_to_date(
        &mut self,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<(), StoreError> {
        let (first, last): (i64, i64) =
            sqlx::query_as("SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM list_change")
                .fetch_one(&mut **tx)
                .await
                .map_err(StoreError::Database)?;
        match self.seen {
            Some(seen) if seen == last => return Ok(()),
            Some(seen) if first <= seen + 1 => {
                let changed = self.changed(seen, tx).await?;
                match self.rows == self.tables[0] {
                    true => self.read_again(changed, tx).await?,
                    false if changed.is_empty() => {}
                    false => self.read_all(tx).await?,
                }
            }
            _ => self.read_all(tx).await?,
        }
        self.seen = Some(last);
        Ok(())
    }

    /// Rows that changed after a change.
    async fn changed(
        &self,
        seen: i64,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<Vec<i64>, StoreError> {
        let tables = serde_json::to_string(self.tables).expect("names are plain data");
        sqlx::query_scalar(
            "SELECT DISTINCT row FROM list_change WHERE seq > ?1 AND listed IN (SELECT value FROM json_each(?2))",
        )
        .bind(seen)
        .bind(tables)
        .fetch_all(&mut **tx)
        .await
        .map_err(StoreError::Database)
    }

    async fn read_again(
        &mut self,
        changed: Vec<i64>,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<(), StoreError> {
        let keys = serde_json::to_string(&changed).expect("numbers are plain data");
        for key in changed {
            self.fields.remove(key);
        }
        self.read(" WHERE rowid IN (SELECT value FROM json_each(?1))", keys, tx).await
    }

    async fn read_all(&mut self, tx: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        self.fields.clear();
        self.read("", String::new(), tx).await
    }

    /// Reads rows into the fields. If that ends early, the next reader does it again.
    async fn read(
        &mut self,
        which: &str,
        keys: String,
        tx: &mut Transaction<'static, Sqlite>,
    ) -> Result<(), StoreError> {
        let columns = self.fields.columns().join("), (");
        let sql = format!("SELECT rowid, ({columns}) FROM {}{which}", self.rows);
        let query = sqlx::query(AssertSqlSafe(sql));
        let query = if which.is_empty() { query } else { query.bind(keys) };
        let mut rows = query.fetch(&mut **tx);
        while let Some(row) = rows.try_next().await.map_err(StoreError::Database)? {
            let cells: Vec<Cell> = (1..row.len()).map(|i| cell(&row, i)).collect::<Result<_, _>>()?;
            self.fields.set(row.get(0), cells.into_iter());
        }
        Ok(())
    }
}

/// A field of a row.
pub(crate) fn cell(row: &SqliteRow, i: usize) -> Result<Cell, StoreError> {
    let raw = row.try_get_raw(i).map_err(StoreError::Database)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    Ok(match raw.type_info().name() {
        "TEXT" => Cell::Text(row.try_get::<&str, _>(i).map_err(StoreError::Database)?.into()),
        "REAL" => Cell::Real(row.try_get(i).map_err(StoreError::Database)?),
        _ => Cell::Int(row.try_get(i).map_err(StoreError::Database)?),
    })
}

/// Makes the triggers that note the changes of every listed table.
pub(crate) async fn make_triggers(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::Database)?;
    let mut statements = vec![format!(
        "CREATE TRIGGER IF NOT EXISTS list_change_limit AFTER INSERT ON list_change
         BEGIN DELETE FROM list_change WHERE seq <= new.seq - {CHANGES_MAX}; END"
    )];
    for table in Listed::ALL.iter().flat_map(|listed| listed.tables()) {
        for (verb, rows) in [("INSERT", &["new"][..]), ("UPDATE", &["old", "new"]), ("DELETE", &["old"])] {
            let insertions: String = rows
                .iter()
                .map(|row| format!("INSERT INTO list_change (listed, row) VALUES ('{table}', {row}.rowid);"))
                .collect();
            statements.push(format!(
                "CREATE TRIGGER IF NOT EXISTS list_change_{table}_{verb} AFTER {verb} ON {table} BEGIN {insertions} END"
            ));
        }
    }
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(StoreError::Database)?;
    }
    tx.commit().await.map_err(StoreError::Database)
}

#[cfg(test)]
mod tests {
    use hearth_domain::{Account, AccountId};

    use crate::{ListQuery, Store};

    fn account(id: &str) -> Account {
        let id = AccountId::new(id).unwrap();
        Account::new(id, "", "", 1)
    }

    async fn shown(store: &Store) -> String {
        let page = store.account_list(&ListQuery::default()).await.unwrap();
        assert_eq!(page.total_size, page.items.len() as u64);
        page.items
            .iter()
            .map(|account| format!("{}{} ", account.id, if account.display_name == "!" { "!" } else { "" }))
            .collect()
    }

    async fn run(store: &Store, statement: &'static str) {
        sqlx::query(statement).execute(store.pool()).await.unwrap();
    }

    #[tokio::test]
    async fn what_others_write_is_seen_even_if_the_note_of_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 0).await.unwrap();
        assert_eq!(shown(&store).await, "fireworks ");
        let other = Store::open(dir.path(), 0).await.unwrap();
        for id in ["a", "b", "c"] {
            other.account_create(&account(id)).await.unwrap();
        }
        assert_eq!(shown(&store).await, "a b c fireworks ");
        run(&other, "UPDATE account SET record = json_set(record, '$.display_name', '!') WHERE id = 'b'")
            .await;
        run(&other, "DELETE FROM account WHERE id = 'a'").await;
        assert_eq!(shown(&store).await, "b! c fireworks ");
        other.account_create(&account("d")).await.unwrap();
        run(&other, "DELETE FROM account WHERE id = 'c'").await;
        run(&other, "DELETE FROM list_change WHERE seq < (SELECT max(seq) FROM list_change)").await;
        assert_eq!(shown(&store).await, "b! d fireworks ");
    }

    /// Only the last changes are kept.
    #[tokio::test]
    async fn notes_of_changes_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 0).await.unwrap();
        run(
            &store,
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO dataset SELECT 'a', 'd' || i, i, '{}' FROM n",
        )
        .await;
        run(&store, "UPDATE dataset SET record = '{}'").await;
        let kept: u32 =
            sqlx::query_scalar("SELECT count(*) FROM list_change").fetch_one(store.pool()).await.unwrap();
        assert_eq!(kept, super::CHANGES_MAX);
    }
}

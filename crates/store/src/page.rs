//! Pages of a list: opaque tokens that remember where a list stopped and for which question.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, TypeInfo, ValueRef};

use crate::columns::Column;
use crate::condition::{Condition, Value};
use crate::error::StoreError;

/// Page size when none is asked for.
pub const PAGE_SIZE_DEFAULT: i32 = 50;
/// Larger page sizes are taken for this one.
pub const PAGE_SIZE_MAX: i32 = 200;
/// Longest page token that is looked at, in bytes.
const TOKEN_MAX_BYTES: usize = 8192;
/// Characters by which texts are sorted: they stand in page tokens.
const SORTED_CHARS: usize = 64;

/// What a client asks of a list.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Items of one page; 0 is the default, more than the maximum is the maximum.
    pub page_size: i32,
    /// Empty, or what the page before said.
    pub page_token: String,
    /// Which rows.
    pub filter: Condition,
    /// By what they are sorted, the first first. Rows that agree in all of it are sorted by id, in the direction of the
    /// last part.
    pub order: Vec<Order>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self { page_size: 0, page_token: String::new(), filter: Condition::Always(true), order: Vec::new() }
    }
}

/// One part of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By a column.
    By {
        /// Which.
        column: Column,
        /// Largest first.
        descending: bool,
    },
    /// By the id, which no two rows of a list share.
    Id {
        /// Last first.
        descending: bool,
    },
}

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// For the next page; empty when this is the last one.
    pub next_page_token: String,
    /// Items of the whole list.
    pub total_size: u64,
}

/// Which rows a list has. All parts are fixed texts of this crate, besides the account, which is bound.
pub(crate) struct Source<'a> {
    /// Table.
    pub table: &'static str,
    /// Kind of resource, for errors.
    pub kind: &'static str,
    /// Owner whose rows are listed; `None` for tables without owner.
    pub account: Option<&'a str>,
    /// Condition besides the owner.
    pub condition: &'static str,
    /// Index that holds all that the list can be filtered and sorted by, if there is one.
    pub index: Option<&'static str>,
}

/// A part of the order, as SQL.
struct Sorted {
    /// NULL comes before every value.
    sql: String,
    descending: bool,
}

fn sorted(order: &[Order]) -> Vec<Sorted> {
    let mut parts = Vec::new();
    for part in order {
        match *part {
            Order::By { column, descending } => {
                // An index has columns of the table as they are; those are never NULL.
                let is_own = column.sql.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                let sql = column.sql;
                let sql = if is_own {
                    sql.to_owned()
                } else {
                    format!(
                        "CASE typeof({sql}) WHEN 'text' THEN substr({sql}, 1, {SORTED_CHARS}) \
                         ELSE coalesce({sql}, -1) END"
                    )
                };
                parts.push(Sorted { sql, descending });
            }
            Order::Id { descending } => {
                parts.push(Sorted { sql: "id".to_owned(), descending });
                // Nothing behind it decides anything.
                return parts;
            }
        }
    }
    // The reverse of an order is the order backwards.
    let descending = parts.last().is_some_and(|last| last.descending);
    parts.push(Sorted { sql: "id".to_owned(), descending });
    parts
}

/// Where a page stopped. A client that makes its own token can read nothing that the list would not show it.
#[derive(Serialize, Deserialize)]
struct Token {
    /// Digest of the question.
    q: String,
    /// What the last item is sorted by.
    k: Vec<serde_json::Value>,
}

/// Digest of all that decides which rows a list has, in which order.
fn question(source: &Source<'_>, query: &ListQuery) -> String {
    let account = source.account.unwrap_or("");
    let Source { table, condition, .. } = source;
    let text = format!("{table}|{condition}|{account}|{:?}|{:?}", query.filter, query.order);
    hex::encode(&Sha256::digest(text)[..8])
}

fn read_token(text: &str, question: &str, parts: usize) -> Result<Option<Vec<Value>>, StoreError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > TOKEN_MAX_BYTES {
        return Err(StoreError::PageToken);
    }
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| StoreError::PageToken)?;
    let token: Token = serde_json::from_slice(&json).map_err(|_| StoreError::PageToken)?;
    if token.q != question || token.k.len() != parts {
        return Err(StoreError::PageToken);
    }
    let value = |value| match value {
        serde_json::Value::String(text) => Ok(Value::Text(text)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(int) => Ok(Value::Int(int)),
            None => number.as_f64().map(Value::Real).ok_or(StoreError::PageToken),
        },
        _ => Err(StoreError::PageToken),
    };
    token.k.into_iter().map(value).collect::<Result<_, _>>().map(Some)
}

fn write_token(question: String, last: &SqliteRow, parts: usize) -> Result<String, StoreError> {
    let key = |i: usize| {
        let name = format!("sort_{i}");
        let raw = last.try_get_raw(name.as_str()).map_err(StoreError::Database)?;
        let value = match raw.type_info().name() {
            "TEXT" => last.get::<String, _>(name.as_str()).into(),
            "REAL" => last.get::<f64, _>(name.as_str()).into(),
            _ => last.get::<i64, _>(name.as_str()).into(),
        };
        Ok(value)
    };
    let token = Token { q: question, k: (0..parts).map(key).collect::<Result<_, StoreError>>()? };
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data")))
}

/// The rows behind `last` in the order: those that differ first in a part in which they come later.
fn push_after(sql: &mut QueryBuilder<Sqlite>, parts: &[Sorted], last: &[Value]) {
    sql.push(" AND (0");
    for (n, part) in parts.iter().enumerate() {
        sql.push(" OR (");
        for (same, value) in parts[..n].iter().zip(last) {
            sql.push(&same.sql).push(" = ");
            value.push(sql);
            sql.push(" AND ");
        }
        sql.push(&part.sql).push(if part.descending { " < " } else { " > " });
        last[n].push(sql);
        sql.push(")");
    }
    sql.push(")");
}

fn push_order(sql: &mut QueryBuilder<Sqlite>, parts: impl Iterator<Item = (String, bool)>) {
    sql.push(" ORDER BY ");
    for (i, (part, descending)) in parts.enumerate() {
        sql.push(if i > 0 { ", " } else { "" }).push(part);
        sql.push(if descending { " DESC" } else { " ASC" });
    }
}

/// The rows of the list, read off the index that holds all fields where one of them decides.
fn push_source(
    sql: &mut QueryBuilder<Sqlite>,
    source: &Source<'_>,
    query: &ListQuery,
    sorts_by_record: bool,
) {
    sql.push(" FROM ").push(source.table);
    if let Some(index) = source.index.filter(|_| sorts_by_record || query.filter != Condition::Always(true)) {
        sql.push(" INDEXED BY ").push(index);
    }
    sql.push(" WHERE ").push(source.condition);
    if let Some(account) = source.account {
        sql.push(" AND account = ").push_bind(account.to_owned());
    }
    sql.push(" AND ");
    query.filter.push(sql);
}

/// The first `limit` rows behind `last`: first which, then their records, so that only these are read whole.
fn push_page(
    page: &mut QueryBuilder<Sqlite>,
    source: &Source<'_>,
    query: &ListQuery,
    parts: &[Sorted],
    last: Option<&[Value]>,
    limit: i64,
) {
    page.push("SELECT id, record");
    for i in 0..parts.len() {
        page.push(format!(", sort_{i}"));
    }
    page.push(" FROM (SELECT rowid AS row");
    for (i, part) in parts.iter().enumerate() {
        page.push(", ").push(&part.sql).push(format!(" AS sort_{i}"));
    }
    push_source(page, source, query, parts.iter().any(|part| part.sql.contains("record")));
    if let Some(last) = last {
        push_after(page, parts, last);
    }
    push_order(page, parts.iter().map(|part| (part.sql.clone(), part.descending)));
    page.push(" LIMIT ").push_bind(limit);
    page.push(") JOIN ").push(source.table).push(" AS whole ON whole.rowid = row");
    push_order(page, parts.iter().enumerate().map(|(i, part)| (format!("sort_{i}"), part.descending)));
}

/// One page of records, in a stable order.
pub(crate) async fn list<T: DeserializeOwned>(
    pool: &SqlitePool,
    source: Source<'_>,
    query: &ListQuery,
) -> Result<ListPage<T>, StoreError> {
    let size = match query.page_size {
        wrong @ ..0 => return Err(StoreError::PageSize(wrong)),
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let parts = sorted(&query.order);
    let question = question(&source, query);
    let last = read_token(&query.page_token, &question, parts.len())?;
    let mut page = QueryBuilder::new("");
    push_page(&mut page, &source, query, &parts, last.as_deref(), i64::from(size) + 1);

    // One read transaction, so that the total and the page belong together.
    let mut tx = pool.begin().await.map_err(StoreError::Database)?;
    let mut rows = page.build().fetch_all(&mut *tx).await.map_err(StoreError::Database)?;
    let more = rows.len() > size as usize;
    let total = if last.is_none() && !more {
        rows.len() as i64
    } else {
        let mut count = QueryBuilder::<Sqlite>::new("SELECT count(*)");
        push_source(&mut count, &source, query, false);
        count.build_query_scalar().fetch_one(&mut *tx).await.map_err(StoreError::Database)?
    };
    tx.commit().await.map_err(StoreError::Database)?;

    rows.truncate(size as usize);
    let next_page_token = match rows.last() {
        Some(last) if more => write_token(question, last, parts.len())?,
        _ => String::new(),
    };
    let items = rows
        .iter()
        .map(|row| parse(source.kind, row.get("id"), row.get("record")))
        .collect::<Result<_, _>>()?;
    Ok(ListPage { items, next_page_token, total_size: total as u64 })
}

/// Reads a record column.
pub(crate) fn parse<T: DeserializeOwned>(
    kind: &'static str,
    name: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Damaged { kind, name: name.to_owned(), source })
}

/// Writes a record column.
pub(crate) fn record<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records are plain data")
}

/// For `map_err` of an insertion: a row with this key is there already.
pub(crate) fn insert_error(kind: &'static str, name: String) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match &error {
        sqlx::Error::Database(inner) if inner.is_unique_violation() => {
            StoreError::AlreadyExists { kind, name }
        }
        _ => StoreError::Database(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Listed;
    use crate::condition::Comparator;
    use crate::list_index::{JOB_CONDITION, JOB_LIST};

    async fn plan(pool: &SqlitePool, query: &ListQuery) -> String {
        let source = Source {
            table: "job",
            kind: "job",
            account: Some("a"),
            condition: JOB_CONDITION,
            index: Some(JOB_LIST),
        };
        let mut sql = QueryBuilder::new("EXPLAIN QUERY PLAN ");
        push_page(&mut sql, &source, query, &sorted(&query.order), None, 201);
        let rows = sql.build().fetch_all(pool).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
    }

    /// Whatever a list of jobs is filtered and sorted by, no record is read to find its page.
    #[tokio::test]
    async fn lists_of_jobs_read_an_index_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::Store::open(dir.path(), 0).await.unwrap();
        for column in Listed::Job.columns() {
            let filter = Condition::Compare(column, Comparator::NotEqual, Value::Int(7));
            let by = Order::By { column, descending: true };
            for (filter, order) in
                [(filter.clone(), Vec::new()), (Condition::Always(true), vec![by]), (filter, vec![by])]
            {
                let query = ListQuery { filter, order, ..ListQuery::default() };
                let plan = plan(store.pool(), &query).await;
                assert!(plan.contains("job USING COVERING INDEX"), "{column:?}: {plan}");
            }
        }
    }
}

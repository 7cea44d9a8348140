//! Pages of a list: opaque tokens that remember where a list stopped and for which question.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row};

use crate::columns::{Column, Listed};
use crate::condition::{Condition, Value};
use crate::datastore::Store;
use crate::error::StoreError;
use crate::fields::{Cell, Fields, Found, Question, SortedBy};
use crate::lists::cell;

/// Page size when none is asked for.
pub const PAGE_SIZE_DEFAULT: i32 = 50;
/// Larger page sizes are taken for this one.
pub const PAGE_SIZE_MAX: i32 = 200;
/// Longest page token that is looked at, in bytes.
const TOKEN_MAX_BYTES: usize = 8192;

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

/// Which rows a list has.
pub(crate) struct Source<'a> {
    /// What kind of rows, with their columns.
    pub listed: Listed,
    /// The table, or a query in its place: a fixed text of this crate.
    pub rows: &'static str,
    /// Kind of resource, for errors.
    pub kind: &'static str,
    /// Owner whose rows are listed; `None` for tables without owner.
    pub account: Option<&'a str>,
    /// Which of them are ever shown.
    pub shown: Condition,
}

/// All parts of an order, down to the id, behind which nothing decides anything.
fn sorted(order: &[Order]) -> Vec<(SortedBy, bool)> {
    let mut parts = Vec::new();
    for part in order {
        match *part {
            Order::By { column, descending } => parts.push((SortedBy::Column(column), descending)),
            Order::Id { descending } => {
                parts.push((SortedBy::Id, descending));
                return parts;
            }
        }
    }
    // The reverse of an order is the order backwards.
    let descending = parts.last().is_some_and(|(_, descending)| *descending);
    parts.push((SortedBy::Id, descending));
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
    let Source { rows, shown, .. } = source;
    let text = format!("{rows}|{shown:?}|{account}|{:?}|{:?}", query.filter, query.order);
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

fn write_token(question: String, last: Vec<Value>) -> String {
    let value = |value| match value {
        Value::Text(text) => text.into(),
        Value::Int(int) => int.into(),
        Value::Real(real) => real.into(),
    };
    let token = Token { q: question, k: last.into_iter().map(value).collect() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

/// Items of a page.
fn page_limit(query: &ListQuery) -> Result<usize, StoreError> {
    let limit = match query.page_size {
        wrong @ ..0 => return Err(StoreError::PageSize(wrong)),
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    Ok(limit as usize)
}

/// One page of a few values that stand in no table. Each has an `account` and an `id`.
pub(crate) async fn list_values<T: Serialize + Clone>(
    store: &Store,
    source: Source<'_>,
    values: Vec<T>,
    query: &ListQuery,
) -> Result<ListPage<T>, StoreError> {
    let limit = page_limit(query)?;
    let order = sorted(&query.order);
    let question = question(&source, query);
    let after = read_token(&query.page_token, &question, order.len())?;
    let mut fields = Fields::new("account", "id", source.listed.columns());
    // The columns are SQL.
    let sql = format!(
        "SELECT key, ({}) FROM (SELECT key, value ->> '$.account' AS account, value ->> '$.id' AS id, value AS record
         FROM json_each(?1))",
        fields.columns().join("), (")
    );
    let mut tx = store.begin_read().await?;
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(record(&values)).fetch_all(&mut *tx).await;
    for row in &rows.map_err(StoreError::Database)? {
        let cells: Vec<Cell> = (1..row.len()).map(|i| cell(row, i)).collect::<Result<_, _>>()?;
        fields.set(row.get(0), cells.into_iter());
    }
    let Found { keys, last, total } = fields.find(&Question {
        account: source.account,
        filters: [&source.shown, &query.filter],
        order: &order,
        after: after.as_deref(),
        limit,
    });
    let value = |key: &i64| {
        let place = usize::try_from(*key).expect("a place in an array is not below 0");
        values[place].clone()
    };
    let next_page_token = last.map_or(String::new(), |last| write_token(question, last));
    Ok(ListPage { items: keys.iter().map(value).collect(), next_page_token, total_size: total as u64 })
}

/// One page of records, in a stable order.
pub(crate) async fn list<T: DeserializeOwned>(
    store: &Store,
    source: Source<'_>,
    query: &ListQuery,
) -> Result<ListPage<T>, StoreError> {
    let limit = page_limit(query)?;
    let order = sorted(&query.order);
    let question = question(&source, query);
    let after = read_token(&query.page_token, &question, order.len())?;

    let mut rows = store.lists().rows(&source).await;
    // One read transaction, so that what was found is there.
    let mut tx = store.begin_read().await?;
    rows.bring_up_to_date(&mut tx).await?;
    let (account, filter) = (source.account.map(str::to_owned), query.filter.clone());
    let find = move || {
        rows.fields().find(&Question {
            account: account.as_deref(),
            filters: [&source.shown, &filter],
            order: &order,
            after: after.as_deref(),
            limit,
        })
    };
    let Found { keys, last, total } = match tokio::task::spawn_blocking(find).await {
        Ok(found) => found,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };

    let sql = format!(
        "SELECT page.key AS place, whole.id, whole.record FROM json_each(?1) AS page
         JOIN {} AS whole ON whole.rowid = page.value ORDER BY place",
        source.rows
    );
    let keys = serde_json::to_string(&keys).expect("numbers are plain data");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(keys).fetch_all(&mut *tx).await;
    tx.commit().await.map_err(StoreError::Database)?;
    let rows = rows.map_err(StoreError::Database)?;
    let items = rows
        .iter()
        .map(|row| parse(source.kind, row.get("id"), row.get("record")))
        .collect::<Result<_, _>>()?;
    let next_page_token = last.map_or(String::new(), |last| write_token(question, last));
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

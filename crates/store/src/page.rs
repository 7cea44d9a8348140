//! Pages of a list: opaque tokens that remember where a list stopped and for which question.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row, SqlitePool};

use crate::error::StoreError;

/// Page size when none is asked for.
pub const PAGE_SIZE_DEFAULT: i32 = 50;
/// Larger page sizes are taken for this one.
pub const PAGE_SIZE_MAX: i32 = 200;
/// Longest page token that is looked at, in bytes.
const TOKEN_MAX_BYTES: usize = 1024;

/// What a client asks of a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListQuery<'a> {
    /// Items of one page; 0 is the default, more than the maximum is the maximum.
    pub page_size: i32,
    /// Empty, or what the page before said.
    pub page_token: &'a str,
    /// Empty, `name` or `create_time`, with ` desc` for the reverse order.
    pub order_by: &'a str,
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Order {
    by_time: bool,
    descending: bool,
}

impl Order {
    fn parse(text: &str) -> Result<Self, StoreError> {
        let mut words = text.split_whitespace();
        let by_time = match words.next() {
            None | Some("name") => false,
            Some("create_time" | "createTime") => true,
            Some(_) => return Err(StoreError::OrderBy(text.to_owned())),
        };
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(StoreError::OrderBy(text.to_owned())),
        };
        if words.next().is_some() {
            return Err(StoreError::OrderBy(text.to_owned()));
        }
        Ok(Self { by_time, descending })
    }
}

/// Where a page stopped. A client that makes its own token can read nothing that the list would not show it.
#[derive(Serialize, Deserialize)]
struct Token {
    /// Digest of the question.
    q: String,
    /// Time of the last item.
    t: i64,
    /// Id of the last item.
    i: String,
}

fn question(source: &Source<'_>, order: Order) -> String {
    let mut hash = Sha256::new();
    let account = source.account.unwrap_or("");
    hash.update(format!("{}|{account}|{}|{}", source.table, order.by_time, order.descending));
    hex::encode(&hash.finalize()[..8])
}

fn read_token(text: &str, question: &str) -> Result<Option<Token>, StoreError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > TOKEN_MAX_BYTES {
        return Err(StoreError::PageToken);
    }
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| StoreError::PageToken)?;
    let token: Token = serde_json::from_slice(&json).map_err(|_| StoreError::PageToken)?;
    if token.q != question {
        return Err(StoreError::PageToken);
    }
    Ok(Some(token))
}

/// One page of records, in a stable order: ties in time are broken by id.
pub(crate) async fn list<T: DeserializeOwned>(
    pool: &SqlitePool,
    source: Source<'_>,
    query: ListQuery<'_>,
) -> Result<ListPage<T>, StoreError> {
    let size = match query.page_size {
        wrong @ ..0 => return Err(StoreError::PageSize(wrong)),
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let order = Order::parse(query.order_by)?;
    let question = question(&source, order);
    let token = read_token(query.page_token, &question)?;

    let Source { table, condition, .. } = source;
    let owner = if source.account.is_some() { "account = ?1" } else { "?1 IS NULL" };
    let rows_of = format!("FROM {table} WHERE {owner} AND {condition}");
    let (compare, direction) = if order.descending { ("<", "DESC") } else { (">", "ASC") };
    let after = match (&token, order.by_time) {
        (None, _) => "(?2 IS NULL AND ?3 IS NULL)".to_owned(),
        (Some(_), true) => format!("(create_time_ms, id) {compare} (?2, ?3)"),
        (Some(_), false) => format!("(?2 IS NOT NULL AND id {compare} ?3)"),
    };
    let sorted = if order.by_time {
        format!("create_time_ms {direction}, id {direction}")
    } else {
        format!("id {direction}")
    };
    let page_sql =
        format!("SELECT id, create_time_ms, record {rows_of} AND {after} ORDER BY {sorted} LIMIT ?4");

    // One read transaction, so that the total and the page belong together.
    let mut tx = pool.begin().await.map_err(StoreError::Database)?;
    let total: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) {rows_of}")))
        .bind(source.account)
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::Database)?;
    let mut rows = sqlx::query(AssertSqlSafe(page_sql))
        .bind(source.account)
        .bind(token.as_ref().map(|token| token.t))
        .bind(token.as_ref().map(|token| token.i.as_str()))
        .bind(i64::from(size) + 1)
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::Database)?;
    tx.commit().await.map_err(StoreError::Database)?;

    let more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next_page_token = match rows.last() {
        Some(last) if more => {
            let token = Token { q: question, t: last.get("create_time_ms"), i: last.get("id") };
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
        }
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

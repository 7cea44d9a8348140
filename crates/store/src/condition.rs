//! Conditions on the rows of a list, as SQL. All values are bound, never written into the text.

use sqlx::{QueryBuilder, Sqlite};

use crate::columns::Column;

/// Which rows a list shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Every row, or none.
    Always(bool),
    /// Rows for which all of these hold.
    All(Vec<Condition>),
    /// Rows for which at least one of these holds.
    Any(Vec<Condition>),
    /// The other rows.
    Not(Box<Condition>),
    /// A column beside a value. A column that is NULL is equal to no value, and neither above nor below one.
    Compare(Column, Comparator, Value),
    /// A text that has this form: `*` stands for any text.
    Like(Column, String),
    /// A text that has this in it.
    Contains(Column, String),
    /// A JSON array of texts that has one of this form: `*` stands for any text.
    Has(Column, String),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

impl Comparator {
    /// As filters and SQL write it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }
}

/// A value in SQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Whole number, time, or 0 and 1 for false and true.
    Int(i64),
    /// Number.
    Real(f64),
}

impl Value {
    pub(crate) fn push(&self, sql: &mut QueryBuilder<Sqlite>) {
        match self {
            Value::Text(text) => sql.push_bind(text.clone()),
            Value::Int(int) => sql.push_bind(*int),
            Value::Real(real) => sql.push_bind(*real),
        };
    }
}

impl Condition {
    /// Appends the condition, in parentheses.
    pub(crate) fn push(&self, sql: &mut QueryBuilder<Sqlite>) {
        sql.push("(");
        match self {
            Condition::Always(holds) => {
                sql.push(if *holds { "1" } else { "0" });
            }
            Condition::All(parts) => push_joined(sql, parts, " AND ", "1"),
            Condition::Any(parts) => push_joined(sql, parts, " OR ", "0"),
            Condition::Not(inner) => {
                sql.push("NOT ");
                inner.push(sql);
            }
            Condition::Compare(column, comparator, value) => {
                // With IS, a NULL makes a comparison false and not NULL, which NOT would leave NULL.
                let operator = match comparator {
                    Comparator::Equal => "IS",
                    Comparator::NotEqual => "IS NOT",
                    other => other.symbol(),
                };
                let ordered = !matches!(comparator, Comparator::Equal | Comparator::NotEqual);
                sql.push("(").push(column.sql).push(") ").push(operator).push(" ");
                value.push(sql);
                if ordered {
                    sql.push(" AND (").push(column.sql).push(") IS NOT NULL");
                }
            }
            Condition::Like(column, form) => {
                sql.push("(").push(column.sql).push(") GLOB ").push_bind(glob(form));
            }
            Condition::Contains(column, text) => {
                sql.push("instr(").push(column.sql).push(", ").push_bind(text.clone()).push(") > 0");
            }
            Condition::Has(column, form) => {
                sql.push("EXISTS (SELECT 1 FROM json_each(")
                    .push(column.sql)
                    .push(") AS item WHERE item.value GLOB ");
                sql.push_bind(glob(form)).push(")");
            }
        }
        sql.push(")");
    }
}

fn push_joined(sql: &mut QueryBuilder<Sqlite>, parts: &[Condition], between: &str, empty: &str) {
    if parts.is_empty() {
        sql.push(empty);
    }
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            sql.push(between);
        }
        part.push(sql);
    }
}

/// A pattern of SQLite's GLOB in which `*` alone means something.
fn glob(form: &str) -> String {
    form.chars().fold(String::new(), |mut glob, c| {
        match c {
            '?' | '[' => glob.extend(['[', c, ']']),
            c => glob.push(c),
        }
        glob
    })
}

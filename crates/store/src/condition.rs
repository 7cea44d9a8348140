//! Conditions on the rows of a list.

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

//! The fields of a list's rows, in memory, field by field: which rows are on a page is found here.
//!
//! Records are JSON. To take one field out of a hundred thousand of them costs a third of a second, and SQLite needs
//! some 15 ms to look at as many rows of an index. A pass over one field that is here takes less than one.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::columns::Column;
use crate::condition::{Comparator, Condition, Value};

/// Characters by which texts are sorted: they stand in page tokens.
const SORTED_CHARS: usize = 64;
/// Different texts of a list that new ones are compared with, so that rows share them.
const SHARED_MAX: usize = 4096;

/// A field of one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Nothing: equal to no value, neither above nor below one, and sorted as -1.
    Null,
    /// Whole number, time, or 0 and 1 for false and true.
    Int(i64),
    /// Number.
    Real(f64),
    /// Text.
    Text(Arc<str>),
}

impl Cell {
    /// Numbers by their size, before texts, which go by their bytes.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Text(_), _) => Ordering::Greater,
            (_, Self::Text(_)) => Ordering::Less,
            (Self::Real(_), _) | (_, Self::Real(_)) => self.real().total_cmp(&other.real()),
            (a, b) => a.int().cmp(&b.int()),
        }
    }

    /// The order of rows in a list by this field.
    fn compare_sorted(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) if Arc::ptr_eq(a, b) => Ordering::Equal,
            (Self::Text(a), Self::Text(b)) => sorted_part(a).cmp(sorted_part(b)),
            (a, b) => a.compare(b),
        }
    }

    fn int(&self) -> i64 {
        match self {
            Self::Int(int) => *int,
            _ => -1,
        }
    }

    fn real(&self) -> f64 {
        match self {
            // A negative zero is a zero.
            Self::Real(real) => *real + 0.0,
            other => other.int() as f64,
        }
    }

    /// What stands in a page token.
    fn sort_value(&self) -> Value {
        match self {
            Self::Null => Value::Int(-1),
            Self::Int(int) => Value::Int(*int),
            Self::Real(real) => Value::Real(*real),
            Self::Text(text) => Value::Text(sorted_part(text).to_owned()),
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.as_str().into()),
            Value::Int(int) => Self::Int(*int),
            Value::Real(real) => Self::Real(*real),
        }
    }
}

fn sorted_part(text: &str) -> &str {
    if text.len() <= SORTED_CHARS {
        return text;
    }
    text.char_indices().nth(SORTED_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// One field of all rows.
#[derive(Debug)]
enum Field {
    /// The same in all.
    Same(Cell),
    /// One for each row.
    Each(Vec<Cell>),
}

impl Field {
    fn at(&self, row: usize) -> &Cell {
        match self {
            Self::Same(cell) => cell,
            Self::Each(cells) => &cells[row],
        }
    }

    /// Sets a row's field; `rows` is how many there are besides a new one.
    fn set(&mut self, row: usize, cell: Cell, rows: usize) {
        match self {
            Self::Same(same) if *same == cell => {}
            Self::Same(_) if rows == 0 => *self = Self::Same(cell),
            Self::Same(same) => {
                let mut cells = vec![same.clone(); rows];
                put(&mut cells, row, cell);
                *self = Self::Each(cells);
            }
            Self::Each(cells) => put(cells, row, cell),
        }
    }

    /// Which rows have a field of which this holds.
    fn holding(&self, rows: usize, mut holds: impl FnMut(&Cell) -> bool) -> Vec<bool> {
        match self {
            Self::Same(cell) => vec![holds(cell); rows],
            Self::Each(cells) => cells.iter().map(holds).collect(),
        }
    }
}

fn put(cells: &mut Vec<Cell>, row: usize, cell: Cell) {
    if row == cells.len() { cells.push(cell) } else { cells[row] = cell }
}

/// What is asked of the rows.
pub(crate) struct Question<'a> {
    /// Owner of the rows; `None` for those without owner.
    pub account: Option<&'a str>,
    /// Conditions on the rows.
    pub filters: [&'a Condition; 2],
    /// By what they are sorted, and whether the largest comes first. Rows that agree in all parts are sorted by id.
    pub order: &'a [(SortedBy, bool)],
    /// What the last row of the page before is sorted by.
    pub after: Option<&'a [Value]>,
    /// Rows of a page, one at least.
    pub limit: usize,
}

/// What a part of an order goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortedBy {
    /// A field.
    Column(Column),
    /// The row's id.
    Id,
}

/// Answer to a question.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    /// Keys of the page's rows, in order.
    pub keys: Vec<i64>,
    /// What the last one is sorted by, if more come behind it.
    pub last: Option<Vec<Value>>,
    /// Rows on all pages.
    pub total: usize,
}

/// The fields of all rows of one list, of all accounts.
#[derive(Debug)]
pub(crate) struct Fields {
    /// SQL of each field; the first two are the account and the id.
    columns: Vec<&'static str>,
    fields: Vec<Field>,
    keys: Vec<i64>,
    row_of: HashMap<i64, usize>,
    shared: HashSet<Arc<str>>,
}

/// Fields before those of the columns.
const ACCOUNT: usize = 0;
const ID: usize = 1;

impl Fields {
    /// No rows. `account` and `id` are the SQL of these.
    pub fn new(account: &'static str, id: &'static str, columns: impl Iterator<Item = Column>) -> Self {
        let mut all = vec![account, id];
        for column in columns {
            if !all[2..].contains(&column.sql) {
                all.push(column.sql);
            }
        }
        let fields = all.iter().map(|_| Field::Same(Cell::Null)).collect();
        let (keys, row_of, shared) = (Vec::new(), HashMap::new(), HashSet::new());
        Self { columns: all, fields, keys, row_of, shared }
    }

    /// SQL of all fields, in the order in which `set` takes them.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.fields.fill_with(|| Field::Same(Cell::Null));
        self.keys.clear();
        self.row_of.clear();
        self.shared.clear();
    }

    /// Adds the row with this key, or changes it.
    pub fn set(&mut self, key: i64, cells: impl Iterator<Item = Cell>) {
        let rows = self.keys.len();
        let row = *self.row_of.entry(key).or_insert(rows);
        if row == rows {
            self.keys.push(key);
        }
        for (field, cell) in self.fields.iter_mut().zip(cells) {
            let cell = match cell {
                Cell::Text(text) => Cell::Text(share(&mut self.shared, text)),
                other => other,
            };
            field.set(row, cell, rows);
        }
    }

    /// Forgets the row with this key, if there is one.
    pub fn remove(&mut self, key: i64) {
        let Some(row) = self.row_of.remove(&key) else { return };
        self.keys.swap_remove(row);
        if let Some(moved) = self.keys.get(row) {
            self.row_of.insert(*moved, row);
        }
        for field in &mut self.fields {
            if let Field::Each(cells) = field {
                cells.swap_remove(row);
            }
        }
    }

    /// The page that is asked for.
    pub fn find(&self, question: &Question<'_>) -> Found {
        let mut shown = vec![true; self.keys.len()];
        if let Some(account) = question.account {
            let is_of = |cell: &Cell| cell.text() == Some(account);
            both(&mut shown, &self.fields[ACCOUNT].holding(self.keys.len(), is_of));
        }
        for filter in question.filters {
            both(&mut shown, &self.holding(filter));
        }
        let total = shown.iter().filter(|&&shown| shown).count();

        let parts: Vec<(&Field, bool)> =
            question.order.iter().map(|&(by, descending)| (self.sorted_by(by), descending)).collect();
        let by_order = |&a: &usize, &b: &usize| compare(&parts, |f, _| f.at(a), |f, _| f.at(b));
        let after: Option<Vec<Cell>> = question.after.map(|last| last.iter().map(Cell::from).collect());
        let is_after = |&row: &usize| match &after {
            Some(last) => compare(&parts, |field, _| field.at(row), |_, i| &last[i]).is_gt(),
            None => true,
        };
        // The page so far, with others that are no later than `bound`: most rows are compared with that one alone.
        let (mut page, mut bound, mut behind) = (Vec::with_capacity(2 * question.limit), None, 0);
        for row in (0..shown.len()).filter(|&row| shown[row]).filter(is_after) {
            behind += 1;
            if bound.is_some_and(|bound| by_order(&row, &bound).is_gt()) {
                continue;
            }
            page.push(row);
            if page.len() == 2 * question.limit {
                page.select_nth_unstable_by(question.limit - 1, by_order);
                page.truncate(question.limit);
                bound = page.last().copied();
            }
        }
        page.sort_unstable_by(by_order);
        page.truncate(question.limit);
        let last = page.last().filter(|_| behind > question.limit);
        Found {
            keys: page.iter().map(|&row| self.keys[row]).collect(),
            last: last.map(|&row| parts.iter().map(|(field, _)| field.at(row).sort_value()).collect()),
            total,
        }
    }

    fn sorted_by(&self, by: SortedBy) -> &Field {
        match by {
            SortedBy::Column(column) => self.field(column),
            SortedBy::Id => &self.fields[ID],
        }
    }

    fn field(&self, column: Column) -> &Field {
        let at = self.columns.iter().position(|&sql| sql == column.sql);
        &self.fields[at.expect("a column of this list")]
    }

    /// The rows for which a condition holds.
    fn holding(&self, condition: &Condition) -> Vec<bool> {
        let rows = self.keys.len();
        match condition {
            Condition::Always(holds) => vec![*holds; rows],
            Condition::All(parts) => {
                let mut all = vec![true; rows];
                parts.iter().for_each(|part| both(&mut all, &self.holding(part)));
                all
            }
            Condition::Any(parts) => {
                let mut any = vec![false; rows];
                for part in parts {
                    any.iter_mut().zip(self.holding(part)).for_each(|(any, holds)| *any |= holds);
                }
                any
            }
            Condition::Not(inner) => {
                let mut held = self.holding(inner);
                held.iter_mut().for_each(|holds| *holds = !*holds);
                held
            }
            Condition::Compare(column, comparator, value) => {
                let value = Cell::from(value);
                let holds = |cell: &Cell| holds(cell, *comparator, &value);
                self.field(*column).holding(rows, holds)
            }
            Condition::Like(column, form) => {
                let form: Vec<&str> = form.split('*').collect();
                let is_like = |cell: &Cell| cell.text().is_some_and(|text| has_form(text, &form));
                self.field(*column).holding(rows, is_like)
            }
            Condition::Contains(column, part) => {
                let contains = |cell: &Cell| cell.text().is_some_and(|text| text.contains(part.as_str()));
                self.field(*column).holding(rows, contains)
            }
            Condition::Has(column, form) => {
                let form: Vec<&str> = form.split('*').collect();
                let has = |cell: &Cell| {
                    let texts = cell.text().and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
                    texts.is_some_and(|texts| texts.iter().any(|text| has_form(text, &form)))
                };
                self.field(*column).holding(rows, has)
            }
        }
    }
}

fn both(all: &mut [bool], holding: &[bool]) {
    all.iter_mut().zip(holding).for_each(|(all, holds)| *all &= holds);
}

fn holds(cell: &Cell, comparator: Comparator, value: &Cell) -> bool {
    if cell.is_null() {
        return comparator == Comparator::NotEqual;
    }
    let order = cell.compare(value);
    match comparator {
        Comparator::Equal => order.is_eq(),
        Comparator::NotEqual => order.is_ne(),
        Comparator::Less => order.is_lt(),
        Comparator::LessEqual => order.is_le(),
        Comparator::Greater => order.is_gt(),
        Comparator::GreaterEqual => order.is_ge(),
    }
}

/// The order of two rows, whose fields are given by `a` and `b`.
fn compare<'f>(
    parts: &[(&'f Field, bool)],
    a: impl Fn(&'f Field, usize) -> &'f Cell,
    b: impl Fn(&'f Field, usize) -> &'f Cell,
) -> Ordering {
    for (i, &(field, descending)) in parts.iter().enumerate() {
        let order = a(field, i).compare_sorted(b(field, i));
        if order.is_ne() {
            return if descending { order.reverse() } else { order };
        }
    }
    Ordering::Equal
}

/// Whether a text is made of these parts, with anything between them.
fn has_form(text: &str, form: &[&str]) -> bool {
    let (first, rest) = form.split_first().expect("a split has a part");
    let Some((last, middle)) = rest.split_last() else { return text == *first };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    for part in middle {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// The text, or an equal one that is there already.
fn share(shared: &mut HashSet<Arc<str>>, text: Arc<str>) -> Arc<str> {
    if let Some(known) = shared.get(&text) {
        return known.clone();
    }
    if shared.len() < SHARED_MAX {
        shared.insert(text.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::columns::Form;

    const N: Column = Column { sql: "n", form: Form::Plain };
    const TEXT: Column = Column { sql: "text", form: Form::Plain };
    const LIST: Column = Column { sql: "list", form: Form::Texts };
    const ALL: Condition = Condition::Always(true);

    /// A row as it was given.
    type Row = (String, String, Cell, Cell, Cell);

    fn any_row(rng: &mut SmallRng) -> Row {
        let mut text = |kinds: u32| match rng.random_range(0..kinds) {
            0 => Cell::Null,
            1 => Cell::Int(rng.random_range(-2..3)),
            2 => Cell::Real(f64::from(rng.random_range(-4..4)) / 2.0),
            n => Cell::Text(format!("{}{}", "\u{e4}".repeat(62 + n as usize % 4), n % 7).into()),
        };
        let (n, text) = (text(3), text(9));
        let list = ["[]", r#"["q"]"#, r#"["q","k_proj"]"#][rng.random_range(0..3)];
        let account = ["a", "b"][rng.random_range(0..2)];
        (account.to_owned(), String::new(), n, text, Cell::Text(list.into()))
    }

    fn set(fields: &mut Fields, key: i64, row: &Row) {
        let (account, id, n, text, list) = row.clone();
        let text_of = |text: String| Cell::Text(text.as_str().into());
        fields.set(key, [text_of(account), text_of(id), n, text, list].into_iter());
    }

    /// Whatever is added, changed and removed in whatever order, pages cover what is there once, in order.
    #[test]
    fn pages_show_what_is_there() {
        let mut rng = SmallRng::seed_from_u64(7);
        for _ in 0..300 {
            let mut fields = Fields::new("account", "id", [N, TEXT, LIST].into_iter());
            let mut rows: HashMap<i64, Row> = HashMap::new();
            for _ in 0..rng.random_range(0..60) {
                let key = rng.random_range(0..25);
                if rng.random_bool(0.3) {
                    rows.remove(&key);
                    fields.remove(key);
                } else {
                    let mut row = any_row(&mut rng);
                    row.1 = format!("{key:02}");
                    set(&mut fields, key, &row);
                    rows.insert(key, row);
                }
            }
            let column = [N, TEXT][rng.random_range(0..2)];
            let (first, last) = (rng.random_bool(0.5), rng.random_bool(0.5));
            let order = [(SortedBy::Column(column), first), (SortedBy::Id, last)];
            let filter = Condition::Compare(N, Comparator::GreaterEqual, Value::Int(0));

            let mut expected: Vec<(Cell, i64)> = rows
                .iter()
                .filter(|(_, row)| row.0 == "a" && matches!(row.2, Cell::Int(0..) | Cell::Real(0.0..)))
                .map(|(&key, row)| (if column == N { row.2.clone() } else { row.3.clone() }, key))
                .collect();
            expected.sort_by(|a, b| {
                let by_field = Cell::from(&a.0.sort_value()).compare(&Cell::from(&b.0.sort_value()));
                let by_field = if first { by_field.reverse() } else { by_field };
                by_field.then(if last { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) })
            });
            let expected: Vec<i64> = expected.into_iter().map(|(_, key)| key).collect();

            let (mut found, mut after) = (Vec::new(), None::<Vec<Value>>);
            loop {
                let limit = rng.random_range(1..5);
                let page = fields.find(&Question {
                    account: Some("a"),
                    filters: [&ALL, &filter],
                    order: &order,
                    after: after.as_deref(),
                    limit,
                });
                assert_eq!(page.total, expected.len());
                assert!(page.keys.len() <= limit);
                found.extend(page.keys);
                after = page.last;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn conditions_hold_as_filters_say() {
        let mut fields = Fields::new("account", "id", [N, TEXT, LIST].into_iter());
        let text = |text: &str| Cell::Text(text.into());
        for (key, n, name, list) in [
            (1, Cell::Int(1), text("alpha"), text(r#"["q_proj","k_proj"]"#)),
            (2, Cell::Real(1.0), text("beta"), text("[]")),
            (3, Cell::Null, text("alphabet"), text(r#"["up"]"#)),
            (4, text("1"), Cell::Null, Cell::Null),
        ] {
            fields.set(key, [text("a"), text(&key.to_string()), n, name, list].into_iter());
        }
        let compare = |comparator, value| Condition::Compare(N, comparator, value);
        let like = |form: &str| Condition::Like(TEXT, form.to_owned());
        let has = |form: &str| Condition::Has(LIST, form.to_owned());
        for (condition, expected) in [
            (compare(Comparator::Equal, Value::Int(1)), &[1, 2][..]),
            (compare(Comparator::NotEqual, Value::Real(1.0)), &[3, 4]),
            (compare(Comparator::Less, Value::Int(2)), &[1, 2]),
            (compare(Comparator::Greater, Value::Int(2)), &[4]),
            (compare(Comparator::LessEqual, Value::Text("1".to_owned())), &[1, 2, 4]),
            (Condition::Not(Box::new(compare(Comparator::Less, Value::Int(2)))), &[3, 4]),
            (like("alpha"), &[1]),
            (like("alpha*"), &[1, 3]),
            (like("*a"), &[1, 2]),
            (like("*p*b*"), &[3]),
            (like("a*a*a"), &[]),
            (Condition::Contains(TEXT, "et".to_owned()), &[2, 3]),
            (has("k_proj"), &[1]),
            (has("*p*"), &[1, 3]),
            (Condition::Any(vec![has("up"), like("beta")]), &[2, 3]),
            (Condition::All(vec![like("alpha*"), has("up")]), &[3]),
            (Condition::Any(Vec::new()), &[]),
            (Condition::All(Vec::new()), &[1, 2, 3, 4]),
        ] {
            let order = [(SortedBy::Id, false)];
            let filters = [&ALL, &condition];
            let found =
                fields.find(&Question { account: None, filters, order: &order, after: None, limit: 9 });
            assert_eq!(
                found,
                Found { keys: expected.to_vec(), last: None, total: expected.len() },
                "{condition:?}"
            );
        }
    }
}

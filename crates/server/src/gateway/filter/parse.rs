//! The text of a filter as a tree. Source: AIP-160, its grammar.
//!
//! `OR` binds tighter than `AND`, and two restrictions side by side are joined by `AND`.

use hearth_store::Comparator;

/// Longest filter, in bytes.
const BYTES_MAX: usize = 4096;
/// Most restrictions.
const RESTRICTIONS_MAX: usize = 64;
/// Most parentheses and negations inside one another.
const DEPTH_MAX: usize = 16;

/// A filter.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// All of these.
    And(Vec<Node>),
    /// At least one of these.
    Or(Vec<Node>),
    /// Not this.
    Not(Box<Node>),
    /// `field comparator argument`.
    Restriction(Restriction),
}

/// A field beside a value.
#[derive(Debug, PartialEq)]
pub(super) struct Restriction {
    /// Names, from the outermost field on.
    pub(super) path: Vec<String>,
    /// `None` is `:`, "has".
    pub(super) comparator: Option<Comparator>,
    /// The value, without its quotes.
    pub(super) argument: String,
    /// Whether it was in quotes.
    pub(super) quoted: bool,
}

/// Reads a filter. `None` if it is blank. The error says what is wrong, and at which byte.
pub(super) fn parse(text: &str) -> Result<Option<Node>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("is longer than {BYTES_MAX} bytes"));
    }
    let mut parser = Parser { text, at: 0, restrictions: 0, depth: 0 };
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(None);
    }
    let node = parser.expression()?;
    match parser.rest() {
        "" => Ok(Some(node)),
        _ => Err(parser.wrong("the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    restrictions: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, expected: &str) -> String {
        match self.rest().chars().next() {
            Some(found) => format!("expected {expected} at byte {}, found {found:?}", self.at),
            None => format!("expected {expected} at the end"),
        }
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a keyword that stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let Some(behind) = self.rest().strip_prefix(word) else { return false };
        if !behind.starts_with(|c: char| c.is_whitespace() || c == '(') {
            return false;
        }
        self.at += word.len();
        self.skip_space();
        true
    }

    /// Whether what follows can begin a restriction or a group.
    fn more(&self) -> bool {
        !self.rest().is_empty() && !self.rest().starts_with(')')
    }

    fn expression(&mut self) -> Result<Node, String> {
        let mut parts = vec![self.factor()?];
        while self.more() {
            self.keyword("AND");
            parts.push(self.factor()?);
        }
        Ok(single(parts, Node::And))
    }

    fn factor(&mut self) -> Result<Node, String> {
        let mut parts = vec![self.term()?];
        while self.keyword("OR") {
            parts.push(self.term()?);
        }
        Ok(single(parts, Node::Or))
    }

    fn term(&mut self) -> Result<Node, String> {
        let minus = self.rest().starts_with('-');
        if minus {
            self.at += 1;
        }
        let negated = minus || self.keyword("NOT");
        if !negated && !self.rest().starts_with('(') {
            return self.restriction();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("has more than {DEPTH_MAX} parentheses or negations inside one another"));
        }
        let node = if negated {
            Node::Not(Box::new(self.term()?))
        } else {
            self.at += 1;
            self.skip_space();
            let inner = self.expression()?;
            if !self.rest().starts_with(')') {
                return Err(self.wrong("\")\""));
            }
            self.at += 1;
            self.skip_space();
            inner
        };
        self.depth -= 1;
        Ok(node)
    }

    fn restriction(&mut self) -> Result<Node, String> {
        self.restrictions += 1;
        if self.restrictions > RESTRICTIONS_MAX {
            return Err(format!("has more than {RESTRICTIONS_MAX} restrictions"));
        }
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let name = self.rest().split(|c| !is_name(c)).next().unwrap_or_default();
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(self.wrong("the name of a field"));
        }
        let path = name.split('.').map(str::to_owned).collect();
        self.at += name.len();
        self.skip_space();
        let Some(comparator) = self.comparator() else {
            return Err(format!("{} behind {name}", self.wrong("one of = != < <= > >= :")));
        };
        self.skip_space();
        let (argument, quoted) = self.argument()?;
        self.skip_space();
        Ok(Node::Restriction(Restriction { path, comparator, argument, quoted }))
    }

    fn comparator(&mut self) -> Option<Option<Comparator>> {
        const ALL: [(&str, Option<Comparator>); 7] = [
            ("<=", Some(Comparator::LessEqual)),
            (">=", Some(Comparator::GreaterEqual)),
            ("!=", Some(Comparator::NotEqual)),
            ("=", Some(Comparator::Equal)),
            ("<", Some(Comparator::Less)),
            (">", Some(Comparator::Greater)),
            (":", None),
        ];
        let (symbol, comparator) = ALL.into_iter().find(|(symbol, _)| self.rest().starts_with(symbol))?;
        self.at += symbol.len();
        Some(comparator)
    }

    /// The value, and whether it was in quotes. Without quotes it ends at a space or parenthesis.
    fn argument(&mut self) -> Result<(String, bool), String> {
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '\'');
            let word = self.rest().split(ends).next().unwrap_or_default();
            if word.is_empty() {
                return Err(self.wrong("a value"));
            }
            self.at += word.len();
            return Ok((word.to_owned(), false));
        };
        let began = self.at;
        let mut value = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += i + 1;
                    return Ok((value, true));
                }
                '\\' => match chars.next() {
                    Some((_, escaped)) => value.push(escaped),
                    None => break,
                },
                c => value.push(c),
            }
        }
        Err(format!("the quotes at byte {began} are not closed"))
    }
}

/// The one part, or all of them joined.
fn single(mut parts: Vec<Node>, join: impl FnOnce(Vec<Node>) -> Node) -> Node {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(node: &Node) -> String {
        let joined = |parts: &[Node], word| {
            let parts: Vec<_> = parts.iter().map(shown).collect();
            format!("({})", parts.join(word))
        };
        match node {
            Node::And(parts) => joined(parts, " & "),
            Node::Or(parts) => joined(parts, " | "),
            Node::Not(inner) => format!("!{}", shown(inner)),
            Node::Restriction(Restriction { path, comparator, argument, quoted }) => {
                let symbol = comparator.map_or(":", Comparator::symbol);
                let mark = if *quoted { "'" } else { "" };
                format!("{}{symbol}{mark}{argument}{mark}", path.join("."))
            }
        }
    }

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(node)) => shown(&node),
            Err(message) => message,
        }
    }

    #[test]
    fn filters_read_as_aip_160_says() {
        assert_eq!(read("  "), "nothing");
        assert_eq!(read("a=1"), "a=1");
        assert_eq!(read("a = 1 AND b>=2 c:x"), "(a=1 & b>=2 & c:x)");
        assert_eq!(read("a=1 AND b=2 OR c=3"), "(a=1 & (b=2 | c=3))");
        assert_eq!(read("(a=1 AND b=2) OR c=3"), "((a=1 & b=2) | c=3)");
        assert_eq!(read("NOT a=1 -b=2 NOT (c=3)"), "(!a=1 & !b=2 & !c=3)");
        assert_eq!(read("a.b.c != -30"), "a.b.c!=-30");
        assert_eq!(read(r#"a = "x \"y\" (z)""#), r#"a='x "y" (z)'"#);
        assert_eq!(read("t > 2026-01-02T03:04:05Z)"), "expected the end at byte 24, found ')'");
        // A field may be called like a keyword begins.
        assert_eq!(read("ORDER=1 NOTE=2"), "(ORDER=1 & NOTE=2)");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(read("a"), "expected one of = != < <= > >= : at the end behind a");
        assert_eq!(read("\"words\""), "expected the name of a field at byte 0, found '\"'");
        assert_eq!(read("a ="), "expected a value at the end");
        assert_eq!(read("a = 1 OR "), "expected the name of a field at the end");
        assert_eq!(read("(a = 1"), "expected \")\" at the end");
        assert_eq!(read(r#"a = "x" b='it"#), "the quotes at byte 10 are not closed");
        assert_eq!(read("a..b = 1"), "expected the name of a field at byte 0, found 'a'");
        assert_eq!(read(&"(".repeat(17)), "has more than 16 parentheses or negations inside one another");
        assert_eq!(read(&"-".repeat(4000)), "has more than 16 parentheses or negations inside one another");
        assert_eq!(read(&"a=1 ".repeat(65)), "has more than 64 restrictions");
        assert_eq!(read(&"a".repeat(5000)), "is longer than 4096 bytes");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c=<>!:()\"'\\\\ANDORT.\\-é ]{0,60}") {
            let _ = parse(&text);
        }
    }
}

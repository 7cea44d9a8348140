//! From text to rules.

use std::collections::HashMap;

use super::{Grammar, MAX_BYTES, MAX_GROUPS, MAX_REPEAT, MAX_RULES, Part, ROOT};

/// The rules of a grammar's text.
///
/// # Errors
/// `line L, column C: what is wrong`.
pub(super) fn parse(text: &str) -> Result<Grammar, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes and may have {MAX_BYTES}", text.len()));
    }
    let mut parser = Parser {
        chars: text.chars().collect(),
        at: 0,
        depth: 0,
        names: HashMap::new(),
        rules: vec![],
        first_use: vec![],
    };
    parser.space(true);
    while parser.at < parser.chars.len() {
        parser.rule()?;
        parser.space(true);
    }
    parser.finish()
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// Open groups.
    depth: usize,
    names: HashMap<String, usize>,
    /// Rules that were met; those that were not defined yet are empty.
    rules: Vec<Option<Part>>,
    /// Where each rule was met first.
    first_use: Vec<usize>,
}

impl Parser {
    fn error<T>(&self, at: usize, message: &str) -> Result<T, String> {
        let before = &self.chars[..at.min(self.chars.len())];
        let line = 1 + before.iter().filter(|c| **c == '\n').count();
        let column = 1 + before.iter().rev().take_while(|c| **c != '\n').count();
        Err(format!("line {line}, column {column}: {message}"))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    /// Skips spaces and comments, and line breaks if told so.
    fn space(&mut self, breaks: bool) {
        while let Some(c) = self.peek() {
            match c {
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                ' ' | '\t' => self.at += 1,
                '\n' | '\r' if breaks => self.at += 1,
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        let is_part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name: String = self.chars[self.at..].iter().take_while(|c| is_part(c)).collect();
        self.at += name.len();
        (!name.is_empty()).then_some(name)
    }

    fn index(&mut self, name: String, at: usize) -> Result<usize, String> {
        if let Some(index) = self.names.get(&name) {
            return Ok(*index);
        }
        if self.rules.len() == MAX_RULES {
            return self.error(at, &format!("a grammar may have {MAX_RULES} rules"));
        }
        self.names.insert(name, self.rules.len());
        self.rules.push(None);
        self.first_use.push(at);
        Ok(self.rules.len() - 1)
    }

    /// `name ::= …` up to its end.
    fn rule(&mut self) -> Result<(), String> {
        let start = self.at;
        let Some(name) = self.name() else {
            return self.error(start, "a rule's name is expected: letters, digits and hyphens");
        };
        self.space(false);
        if !self.take("::=") {
            return self.error(self.at, "\"::=\" is expected");
        }
        let index = self.index(name, start)?;
        if self.rules[index].is_some() {
            return self.error(start, "the rule is defined already");
        }
        // The body may begin on the next line.
        self.space(true);
        let part = self.choice()?;
        if self.peek().is_some_and(|c| !matches!(c, '\n' | '\r')) {
            return self.error(self.at, "this is no part of a rule");
        }
        self.rules[index] = Some(part);
        Ok(())
    }

    fn choice(&mut self) -> Result<Part, String> {
        let mut branches = vec![self.sequence()?];
        loop {
            // Outside of groups, a line that begins with a bar goes on with the rule.
            let here = self.at;
            self.space(true);
            if !self.take("|") {
                if self.depth == 0 {
                    self.at = here;
                }
                break;
            }
            self.space(true);
            branches.push(self.sequence()?);
        }
        Ok(if branches.len() == 1 { branches.remove(0) } else { Part::Choice(branches) })
    }

    fn sequence(&mut self) -> Result<Part, String> {
        let mut parts = Vec::new();
        loop {
            self.space(self.depth > 0);
            match self.item()? {
                Some(part) => parts.push(part),
                None => break,
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Part::Sequence(parts) })
    }

    /// One part with its repetitions; `None` where the sequence ends.
    fn item(&mut self) -> Result<Option<Part>, String> {
        let start = self.at;
        let part = match self.peek() {
            Some('"') => self.text()?,
            Some('[') => self.class()?,
            Some('.') => {
                self.at += 1;
                Part::Class { negated: true, ranges: vec![] }
            }
            Some('(') => {
                self.at += 1;
                self.depth += 1;
                if self.depth > MAX_GROUPS {
                    return self.error(start, &format!("groups may be nested {MAX_GROUPS} deep"));
                }
                self.space(true);
                let part = self.choice()?;
                self.space(true);
                if !self.take(")") {
                    return self.error(self.at, "\")\" is expected");
                }
                self.depth -= 1;
                part
            }
            Some(c) if c.is_ascii_alphanumeric() => {
                let name = self.name().expect("it begins with a letter or digit");
                Part::Rule(self.index(name, start)?)
            }
            Some('<') => return self.error(start, "tokens are not supported; write their text in quotes"),
            Some('*' | '+' | '?' | '{') => return self.error(start, "there is nothing to repeat"),
            _ => return Ok(None),
        };
        let Some((least, most)) = self.repetition()? else { return Ok(Some(part)) };
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return self.error(self.at, "a repetition of a repetition needs parentheses");
        }
        Ok(Some(Part::Repeat { part: Box::new(part), least, most }))
    }

    fn repetition(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        let start = self.at;
        let bounds = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.at += 1;
                self.space(false);
                let least = self.number()?;
                self.space(false);
                let most = if self.take(",") {
                    self.space(false);
                    self.number()?
                } else {
                    least
                };
                self.space(false);
                if self.peek() != Some('}') {
                    return self.error(self.at, "\"}\" is expected");
                }
                let bounds = (least.unwrap_or(0), most);
                if least.is_none() && most.is_none() || most.is_some_and(|most| most < bounds.0) {
                    return self.error(start, "a repetition is {m}, {m,} or {m,n} with n from m on");
                }
                bounds
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(bounds))
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let digits: String = self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse::<u32>() {
            Ok(number) if number <= MAX_REPEAT => {
                self.at += digits.len();
                Ok(Some(number))
            }
            _ => self.error(self.at, &format!("a part may be repeated {MAX_REPEAT} times")),
        }
    }

    fn text(&mut self) -> Result<Part, String> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => return self.error(start, "the text has no closing quote"),
                Some('"') => break,
                Some(_) => text.push(self.character()?),
            }
        }
        self.at += 1;
        Ok(Part::Text(text))
    }

    fn class(&mut self) -> Result<Part, String> {
        let start = self.at;
        self.at += 1;
        let negated = self.take("^");
        let mut ranges = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return self.error(start, "the class has no closing bracket"),
                Some(']') => break,
                Some(_) => {}
            }
            let here = self.at;
            let first = self.character()?;
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']');
            let last = if is_range {
                self.at += 1;
                self.character()?
            } else {
                first
            };
            if last < first {
                return self.error(here, "the range ends before it begins");
            }
            ranges.push((first, last));
        }
        self.at += 1;
        if ranges.is_empty() && !negated {
            return self.error(start, "the class is empty");
        }
        Ok(Part::Class { negated, ranges })
    }

    /// One character of a text or class, escaped or not.
    fn character(&mut self) -> Result<char, String> {
        let start = self.at;
        let c = self.chars[start];
        self.at += 1;
        if c != '\\' {
            return Ok(c);
        }
        let escaped = self.peek();
        self.at += 1;
        let digits = match escaped {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c @ ('\\' | '"' | '[' | ']' | '-' | '^' | '/')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => {
                return self.error(
                    start,
                    "the escapes are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH",
                );
            }
        };
        let hex: String = self.chars[self.at..].iter().take(digits).collect();
        let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.chars().all(|c| c.is_ascii_hexdigit()));
        match code.filter(|_| hex.len() == digits).and_then(char::from_u32) {
            Some(c) => {
                self.at += digits;
                Ok(c)
            }
            None => self.error(start, &format!("{digits} hexadecimal digits of a character are expected")),
        }
    }

    fn finish(self) -> Result<Grammar, String> {
        let Some(&root) = self.names.get(ROOT) else {
            return Err(format!("it has no rule {ROOT:?}, where answers begin"));
        };
        if let Some(index) = self.rules.iter().position(Option::is_none) {
            return self.error(self.first_use[index], "the rule is not defined");
        }
        Ok(Grammar { rules: self.rules.into_iter().flatten().collect(), root })
    }
}

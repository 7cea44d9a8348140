//! From rules to the Lark-like text that is compiled.

use std::fmt::Write;

use super::{Grammar, MAX_LEAST_CHARS, Part};

/// The text. Only rules that the root leads to are in it.
///
/// # Errors
/// When no text is short enough, or none ends at all.
pub(super) fn lark(grammar: &Grammar) -> Result<String, String> {
    let used = used(grammar);
    let is_regular = !is_recursive(grammar);
    least_chars(grammar, &used)?;
    let writer = Writer { is_regular };
    let mut out = format!("start: {}\n", writer.name(grammar.root));
    for (index, part) in grammar.rules.iter().enumerate().filter(|(index, _)| used[*index]) {
        let _ = write!(out, "{}: ", writer.name(index));
        writer.part(&mut out, part, false);
        out.push('\n');
    }
    Ok(out)
}

/// Calls `visit` with each rule that a part names.
fn rules_of(part: &Part, visit: &mut impl FnMut(usize)) {
    match part {
        Part::Text(_) | Part::Class { .. } => {}
        Part::Rule(index) => visit(*index),
        Part::Sequence(parts) | Part::Choice(parts) => parts.iter().for_each(|part| rules_of(part, visit)),
        Part::Repeat { part, .. } => rules_of(part, visit),
    }
}

/// Whether the root leads to each rule.
fn used(grammar: &Grammar) -> Vec<bool> {
    let mut used = vec![false; grammar.rules.len()];
    let mut open = vec![grammar.root];
    while let Some(index) = open.pop() {
        if !std::mem::replace(&mut used[index], true) {
            rules_of(&grammar.rules[index], &mut |next| open.push(next));
        }
    }
    used
}

/// Whether the root leads to a rule that leads to itself.
fn is_recursive(grammar: &Grammar) -> bool {
    #[derive(Clone, Copy)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; grammar.rules.len()];
    let mut stack = vec![grammar.root];
    while let Some(&index) = stack.last() {
        match states[index] {
            State::New => {
                states[index] = State::Open;
                let mut cyclic = false;
                rules_of(&grammar.rules[index], &mut |next| match states[next] {
                    State::New => stack.push(next),
                    State::Open => cyclic = true,
                    State::Done => {}
                });
                if cyclic {
                    return true;
                }
            }
            State::Open | State::Done => {
                states[index] = State::Done;
                stack.pop();
            }
        }
    }
    false
}

/// Checks that each rule has a text that ends, and that the root's shortest is not too long.
fn least_chars(grammar: &Grammar, used: &[bool]) -> Result<(), String> {
    // Lengths of shortest texts, from above: nothing has a text at first.
    let mut least: Vec<Option<u64>> = vec![None; grammar.rules.len()];
    for _ in 0..=grammar.rules.len() {
        let mut changed = false;
        for index in 0..grammar.rules.len() {
            let found = shortest(&grammar.rules[index], &least);
            if found.is_some() && found != least[index] {
                least[index] = found;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    if used.iter().zip(&least).any(|(used, least)| *used && least.is_none()) {
        return Err("has a grammar with a rule that leads to itself and never ends".to_owned());
    }
    if least[grammar.root].is_some_and(|least| least > MAX_LEAST_CHARS) {
        return Err(format!("has a grammar whose shortest text is longer than {MAX_LEAST_CHARS} characters"));
    }
    Ok(())
}

fn shortest(part: &Part, least: &[Option<u64>]) -> Option<u64> {
    match part {
        Part::Text(text) => Some(text.chars().count() as u64),
        Part::Class { .. } => Some(1),
        Part::Rule(index) => least[*index],
        Part::Sequence(parts) => {
            parts.iter().try_fold(0u64, |sum, part| Some(sum.saturating_add(shortest(part, least)?)))
        }
        Part::Choice(parts) => parts.iter().filter_map(|part| shortest(part, least)).min(),
        Part::Repeat { least: 0, .. } => Some(0),
        Part::Repeat { part, least: times, .. } => {
            Some(shortest(part, least)?.saturating_mul(u64::from(*times)))
        }
    }
}

struct Writer {
    /// Whether all is one regular expression: then rules have upper-case names.
    is_regular: bool,
}

impl Writer {
    fn name(&self, index: usize) -> String {
        if self.is_regular { format!("R{index}") } else { format!("r{index}") }
    }

    /// `inner`: within something that binds tighter than a sequence.
    fn part(&self, out: &mut String, part: &Part, inner: bool) {
        match part {
            Part::Text(text) if text.is_empty() => out.push_str("\"\""),
            Part::Text(text) if self.is_regular => {
                out.push('/');
                text.chars().for_each(|c| character(out, c));
                out.push('/');
            }
            Part::Text(text) => {
                let characters = text.chars().map(|c| Part::Class { negated: false, ranges: vec![(c, c)] });
                self.list(out, &characters.collect::<Vec<_>>(), " ", inner);
            }
            Part::Class { negated, ranges } => class(out, *negated, ranges),
            Part::Rule(index) => out.push_str(&self.name(*index)),
            Part::Sequence(parts) if parts.is_empty() => out.push_str("\"\""),
            Part::Sequence(parts) => self.list(out, parts, " ", inner),
            Part::Choice(parts) => self.list(out, parts, " | ", inner),
            Part::Repeat { least: _, most: Some(0), .. } => out.push_str("\"\""),
            Part::Repeat { part, least, most } => {
                out.push('(');
                self.part(out, part, false);
                out.push(')');
                match (least, most) {
                    (0, None) => out.push('*'),
                    (1, None) => out.push('+'),
                    (0, Some(1)) => out.push('?'),
                    (least, None) => _ = write!(out, "{{{least},}}"),
                    (least, Some(most)) => _ = write!(out, "{{{least},{most}}}"),
                }
            }
        }
    }

    fn list(&self, out: &mut String, parts: &[Part], between: &str, inner: bool) {
        if inner {
            out.push('(');
        }
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.push_str(between);
            }
            self.part(out, part, true);
        }
        if inner {
            out.push(')');
        }
    }
}

/// A character in a regular expression.
fn character(out: &mut String, c: char) {
    let _ = write!(out, "\\x{{{:x}}}", c as u32);
}

fn class(out: &mut String, negated: bool, ranges: &[(char, char)]) {
    if ranges.is_empty() {
        // Only a negated class can be empty: any character.
        out.push_str("/(?s:.)/");
        return;
    }
    out.push_str(if negated { "/[^" } else { "/[" });
    for (first, last) in ranges {
        character(out, *first);
        out.push('-');
        character(out, *last);
    }
    out.push_str("]/");
}

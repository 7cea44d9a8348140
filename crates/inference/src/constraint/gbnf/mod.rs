//! Grammars in GBNF: rules `name ::= …` of texts, classes of characters, groups, choices and repetitions.
//!
//! A grammar without recursion is one regular expression. In any other, each character is a lexeme of its own: longer
//! ones would be taken greedily, and texts of the grammar would be lost. Either way exactly the grammar's texts are
//! allowed.

mod parse;
mod write;

use llguidance::api::TopLevelGrammar;

/// Longest grammar, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Most rules.
const MAX_RULES: usize = 1_000;
/// Deepest nesting of groups in one rule.
const MAX_GROUPS: usize = 32;
/// Largest number in `{m,n}`.
const MAX_REPEAT: u32 = 10_000;
/// Most characters of a text without recursion that the repetitions ask for, at least: `(a{100}){100}` asks for ten
/// thousand.
const MAX_LEAST_CHARS: u64 = 1 << 20;

/// Where an answer begins.
const ROOT: &str = "root";

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// These characters.
    Text(String),
    /// One character in these ranges, or, if negated, in none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// The rule at this place.
    Rule(usize),
    /// One after the other; nothing if empty.
    Sequence(Vec<Part>),
    /// One of them.
    Choice(Vec<Part>),
    /// From `least` to `most` times.
    Repeat { part: Box<Part>, least: u32, most: Option<u32> },
}

/// All rules. The one that is named [`ROOT`] is at `root`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grammar {
    rules: Vec<Part>,
    root: usize,
}

/// The grammar in the form that is compiled.
///
/// # Errors
/// What is wrong, with its line and column.
pub(super) fn grammar(text: &str) -> Result<TopLevelGrammar, String> {
    let grammar = parse::parse(text).map_err(|error| format!("has an error in its grammar: {error}"))?;
    Ok(TopLevelGrammar::from_lark(write::lark(&grammar)?))
}

#[cfg(test)]
mod tests;

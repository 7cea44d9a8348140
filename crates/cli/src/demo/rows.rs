//! The example rows, inside the binary so that the demo works anywhere.

use anyhow::{Context, Result};
use hearth_client::Message;
use serde::Deserialize;

/// Training rows.
pub const TRAIN: &str = include_str!("../../../../examples/support/train.jsonl");
/// Held-out rows.
pub const HELDOUT: &str = include_str!("../../../../examples/support/heldout.jsonl");

/// A held-out row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// System message and the customer's message.
    pub prompt: Vec<Message>,
    /// The only right answer.
    pub answer: String,
}

/// The held-out rows as questions.
pub fn heldout() -> Result<Vec<Question>> {
    questions(HELDOUT)
}

fn questions(text: &str) -> Result<Vec<Question>> {
    #[derive(Deserialize)]
    struct Row {
        messages: Vec<Message>,
    }
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            let mut row: Row =
                serde_json::from_str(line).with_context(|| format!("example row {}", index + 1))?;
            let answer = row.messages.pop().with_context(|| format!("example row {} is empty", index + 1))?;
            Ok(Question { prompt: row.messages, answer: answer.content })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn held_out_rows_are_new() {
        let (train, heldout) = (questions(TRAIN).unwrap(), questions(HELDOUT).unwrap());
        assert!(train.len() >= 300 && heldout.len() >= 60);
        let item = |question: &Question| question.answer.rsplit(" | ").next().unwrap().to_owned();
        let items: HashSet<String> = train.iter().map(item).collect();
        let messages: HashSet<&str> =
            train.iter().map(|question| question.prompt[1].content.as_str()).collect();
        for question in &heldout {
            assert!(!items.contains(&item(question)), "{question:?}");
            assert!(!messages.contains(question.prompt[1].content.as_str()), "{question:?}");
            assert!(question.prompt[1].content.contains(&item(question)), "{question:?}");
        }
    }
}

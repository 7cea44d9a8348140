//! Rows in a terminal.

use anyhow::Result;

use super::{Shown, counts};
use crate::config::has_colours;
use crate::output;

const LEARNT: [&str; 2] = ["\x1b[1;30;42m", "\x1b[1;30;102m"];
const GIVEN: [&str; 2] = ["\x1b[0m", "\x1b[2m"];
const PLAIN: &str = "\x1b[0m";

/// Prints a row and its samples.
pub fn print(row: &Shown, context_length: usize) -> Result<()> {
    output::line(&text(row, context_length, has_colours()))
}

fn text(row: &Shown, context_length: usize, has_colours: bool) -> String {
    let mut out = format!("line {}\n", row.line);
    for sentence in row.sentences(context_length) {
        out += &format!("  {sentence}\n");
    }
    for (number, pieces) in row.samples.iter().enumerate() {
        let (tokens, learnt) = counts(pieces);
        out += &format!("  sample {} of {}: {tokens} tokens, {learnt} learnt", number + 1, row.samples.len());
        let mut weights: Vec<f32> =
            pieces.iter().map(|piece| piece.weight).filter(|weight| *weight > 0.0).collect();
        weights.dedup();
        out += &match weights.as_slice() {
            [weight] if *weight != 1.0 => format!(", with weight {weight}\n"),
            _ => "\n".to_owned(),
        };
        let mut is_learnt = false;
        for (index, piece) in pieces.iter().enumerate() {
            let learnt = piece.weight > 0.0;
            let text = visible(&piece.text);
            if has_colours {
                let colour = if learnt { LEARNT[index % 2] } else { GIVEN[index % 2] };
                // A colour ends with its line, or it fills the next.
                let text = text.replace('\n', &format!("{PLAIN}\n{colour}"));
                out += &format!("{colour}{text}{PLAIN}");
            } else {
                match (is_learnt, learnt) {
                    (false, true) => out.push('⟦'),
                    (true, false) => out.push('⟧'),
                    _ => {}
                }
                out += &text;
            }
            is_learnt = learnt;
        }
        out += if is_learnt && !has_colours { "⟧\n" } else { "\n" };
    }
    out
}

/// Control characters could change the terminal; they are shown as pictures, and line breaks are kept with a mark.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => "↵\n".to_owned(),
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).map_or_else(String::new, String::from),
            '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                format!("<U+{:04X}>", c as u32)
            }
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hearth_data::render::Piece;

    use super::*;

    fn piece(text: &str, weight: f32) -> Piece {
        Piece { text: text.to_owned(), weight, tokens: vec![1] }
    }

    fn row() -> Shown {
        let pieces = vec![piece("q\n", 0.0), piece("a\u{1b}[", 2.0), piece("b", 2.0), piece("\n", 0.0)];
        Shown { line: 4, samples: vec![pieces], too_long: vec![99], errors: vec![], warnings: vec![] }
    }

    #[test]
    fn what_is_learnt_stands_between_marks() {
        let expect = "line 4\n  left out: a sample of 99 tokens is longer than 50\n  \
                      sample 1 of 1: 4 tokens, 2 learnt, with weight 2\nq↵\n⟦a␛[b⟧↵\n\n";
        assert_eq!(text(&row(), 50, false), expect);
    }

    #[test]
    fn colours_end_with_their_lines() {
        let coloured = text(&row(), 50, true);
        assert!(
            coloured.contains("\x1b[0mq↵\x1b[0m\n\x1b[0m\x1b[0m\x1b[1;30;102ma␛[\x1b[0m\x1b[1;30;42mb"),
            "{coloured:?}"
        );
    }
}

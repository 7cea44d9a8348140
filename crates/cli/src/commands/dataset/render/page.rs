//! Rows as a page.

use super::terminal::visible;
use super::{Shown, counts};
use crate::page::{escape, shell};

const STYLE: &str = "
.sample { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, monospace; line-height: 1.7;
  padding: .8rem; border: 1px solid var(--line); border-radius: .4rem; }
.sample span { border-radius: .15rem; padding: .1rem 0; }
.sample span:nth-child(even) { background: var(--shade); }
.sample span.l { background: var(--learnt); }
.sample span.l:nth-child(even) { background: var(--learnt-shade); }
.bad { color: var(--bad); }
";

/// The page of these rows.
pub fn page(title: &str, rows: &[Shown], context_length: usize) -> String {
    let mut body = String::from(
        "<p>Each shade is a token; hold the pointer over it for its id and loss weight. What is learnt is <span \
         class=\"key\">green</span>, everything else is given.</p>",
    );
    for row in rows {
        body += &format!("<h2>Line {}</h2>", row.line);
        for sentence in row.sentences(context_length) {
            body += &format!("<p class=\"bad\">{}</p>", escape(&sentence));
        }
        for (number, pieces) in row.samples.iter().enumerate() {
            let (tokens, learnt) = counts(pieces);
            let of = row.samples.len();
            body += &format!(
                "<p>Sample {} of {of}: {tokens} tokens, {learnt} learnt</p><div class=\"sample\">",
                number + 1
            );
            for piece in pieces {
                let ids: Vec<String> = piece.tokens.iter().map(u32::to_string).collect();
                body += &format!(
                    "<span{} title=\"{} · weight {}\">{}</span>",
                    if piece.weight > 0.0 { " class=\"l\"" } else { "" },
                    ids.join(" "),
                    piece.weight,
                    escape(&visible(&piece.text)),
                );
            }
            body += "</div>";
        }
    }
    shell(title, STYLE, &body)
}

#[cfg(test)]
mod tests {
    use hearth_data::render::Piece;

    use super::*;

    #[test]
    fn contents_are_text() {
        let piece = Piece { text: "<script>\"&".to_owned(), weight: 1.0, tokens: vec![7, 8] };
        let row =
            Shown { line: 1, samples: vec![vec![piece]], too_long: vec![], errors: vec![], warnings: vec![] };
        let page = page("a <b>", &[row], 10);
        assert!(page.contains("<title>a &lt;b&gt;</title>"), "{page}");
        assert!(page.contains("title=\"7 8 · weight 1\">&lt;script&gt;&quot;&amp;</span>"), "{page}");
    }
}

//! Writing HTML: text can only get in escaped.

use std::fmt::Write as _;

/// HTML that is being written.
#[derive(Debug, Default)]
pub(super) struct Html {
    text: String,
}

impl Html {
    /// What stands in the source of this program, as it is.
    pub(super) fn raw(&mut self, html: &'static str) -> &mut Self {
        self.text.push_str(html);
        self
    }

    /// Any text; also within the quotes of an attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                other => self.text.push(other),
            }
        }
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: usize) -> &mut Self {
        write!(self.text, "{number}").expect("a string grows");
        self
    }

    /// Text as code.
    pub(super) fn code(&mut self, text: &str) -> &mut Self {
        self.raw("<code>").text(text).raw("</code>")
    }

    /// A link within the page, with its text as code.
    pub(super) fn link(&mut self, anchor: &str, text: &str) -> &mut Self {
        self.raw("<a href=\"#").text(anchor).raw("\">").code(text).raw("</a>")
    }

    /// Words between backquotes as code, the rest as it is.
    pub(super) fn inline(&mut self, text: &str) -> &mut Self {
        let parts: Vec<&str> = text.split('`').collect();
        // An odd number of backquotes leaves the last one a backquote.
        let closed = parts.len() % 2 == 1;
        for (index, part) in parts.iter().enumerate() {
            match (index % 2, index + 1 == parts.len()) {
                (0, _) => self.text(part),
                (_, true) if !closed => self.raw("`").text(part),
                _ => self.code(part),
            };
        }
        self
    }

    /// Paragraphs of such text, divided by empty lines.
    pub(super) fn paragraphs(&mut self, text: &str) -> &mut Self {
        for one in text.split("\n\n").filter(|one| !one.is_empty()) {
            self.raw("<p>").inline(one).raw("</p>\n");
        }
        self
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_in_unescaped() {
        let check = |text: &str, expect: &str| {
            let mut html = Html::default();
            html.inline(text);
            assert_eq!(html.finish(), expect, "{text}");
        };
        check("a `b` c", "a <code>b</code> c");
        check("`<b>`", "<code>&lt;b&gt;</code>");
        check("a ` b", "a ` b");
        check("a `b` `c", "a <code>b</code> `c");
        check("\"'&", "&quot;&#39;&amp;");
        let mut html = Html::default();
        html.paragraphs("one\n\ntwo <");
        assert_eq!(html.finish(), "<p>one</p>\n<p>two &lt;</p>\n");
    }
}

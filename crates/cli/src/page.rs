//! What the pages that commands write have in common. They need nothing but themselves.

/// Colours for light and dark screens.
const STYLE: &str = "
:root { color-scheme: light dark; --line: #d0d7de; --shade: #eef1f4; --learnt: #b5e8c0; --learnt-shade: #8fd6a0;
  --bad: #b3261e; --warn: #8a5a00; --good: #1b6e3c; --accent: #1f6feb; --muted: #57606a; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --shade: #21262d; --learnt: #1b5e30;
  --learnt-shade: #257a41; --bad: #ff8a80; --warn: #f0b849; --good: #6fce95;
  --accent: #58a6ff; --muted: #8b949e; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h1 { overflow-wrap: anywhere; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.key { background: var(--learnt); border-radius: .15rem; padding: 0 .2rem; }
";

/// A page with this title, style and body. The title is escaped; the body is HTML.
pub fn shell(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}{style}</style></head>\n<body><h1>{title}</h1>\n\
         {body}\n</body></html>\n"
    )
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! The report as one page of HTML that needs nothing else.

use std::fmt::Write;

use hearth_data::check::{Bin, Report, Statistics, TokenStatistics};
use hearth_data::{Code, Finding};

use crate::page::{escape, shell};

/// Places of one kind that stand in the summary.
const FIRST_PLACES: usize = 8;

const STYLE: &str = "
.soft, .card span, th, details summary, svg text { color: var(--muted); fill: var(--muted); } .warn { color: var(--warn); }
.bad { color: var(--bad); } .good { color: var(--good); } .verdict { font-size: 1.1rem; font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.card { background: var(--shade); border-radius: .5rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; } .card span { font-size: .87rem; }
.scroll { overflow-x: auto; } table { width: 100%; } th { font-weight: 500; font-size: .87rem; }
td.fix { color: var(--muted); } td.n, th.n, td.kind { white-space: nowrap; }
code { font: .87em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
details summary { cursor: pointer; margin: .6rem 0; }
svg { width: 100%; height: auto; max-width: 46rem; } svg text { font: 12px system-ui, sans-serif; } svg rect { fill: var(--accent); }
";

/// The page of a report; `title` says what was checked.
pub fn page(report: &Report, title: &str) -> String {
    let mut page = Page::default();
    page.verdict(report);
    page.cards(&cards(report));
    page.groups("Errors", "bad", &report.errors, &report.error_counts);
    page.groups("Warnings", "warn", &report.warnings, &report.warning_counts);
    page.statistics(&report.statistics);
    if let Some(tokens) = &report.tokens {
        page.tokens(tokens);
    }
    page.all("All errors", &report.errors, report.error_count);
    page.all("All warnings", &report.warnings, report.warning_count);
    shell(title, STYLE, &page.out)
}

fn cards(report: &Report) -> Vec<(String, &'static str)> {
    let statistics = &report.statistics;
    let mut cards = vec![
        (grouped(report.rows), "rows"),
        (grouped(statistics.trained_answers), "answers that are learnt"),
        (bytes(statistics.bytes), "of JSON"),
    ];
    if let Some(rows) = report.evaluation_rows {
        cards.push((grouped(rows), "rows of evaluation data"));
    }
    if let Some(tokens) = &report.tokens {
        cards.push((grouped(tokens.tokens), "tokens an epoch"));
        cards.push((grouped(tokens.trained_tokens), "tokens that are learnt"));
        if let Some(packed) = &tokens.packed {
            cards.push((grouped(packed.steps_per_epoch), "steps an epoch"));
        }
    }
    cards
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn place(finding: &Finding) -> String {
    let file = finding.file.as_ref().map(|file| format!("{file}:")).unwrap_or_default();
    match finding.line {
        0 => format!("{file}file"),
        line => format!("{file}{line}"),
    }
}

#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    fn raw(&mut self, html: &str) {
        self.out.push_str(html);
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&escape(text));
    }

    fn cell(&mut self, class: &str, text: &str) {
        self.raw(&if class.is_empty() { "<td>".to_owned() } else { format!("<td class=\"{class}\">") });
        self.text(text);
        self.raw("</td>");
    }

    fn verdict(&mut self, report: &Report) {
        let (class, text) = match (report.error_count, report.warning_count) {
            (0, 0) => ("good", "Ready to be trained on: nothing was found.".to_owned()),
            (0, warnings) => {
                ("warn", format!("May be trained on; {} to look at.", counted(warnings, "warning")))
            }
            (errors, warnings) => (
                "bad",
                format!(
                    "Cannot be trained on as it is: {}, {}.",
                    counted(errors, "error"),
                    counted(warnings, "warning")
                ),
            ),
        };
        self.raw(&format!("<p class=\"verdict {class}\">"));
        self.text(&text);
        self.raw("</p>\n");
    }

    fn cards(&mut self, cards: &[(String, &str)]) {
        self.raw("<div class=\"cards\">\n");
        for (value, name) in cards {
            self.raw("<div class=\"card\"><b>");
            self.text(value);
            self.raw("</b><span>");
            self.text(name);
            self.raw("</span></div>\n");
        }
        self.raw("</div>\n");
    }

    fn head(&mut self, columns: &[(&str, &str)]) {
        self.raw("<div class=\"scroll\"><table>\n<thead><tr>");
        for (class, name) in columns {
            self.raw(&format!("<th class=\"{class}\">"));
            self.text(name);
            self.raw("</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
    }

    fn foot(&mut self) {
        self.raw("</tbody></table></div>\n");
    }

    fn groups(
        &mut self,
        title: &str,
        class: &str,
        findings: &[Finding],
        counts: &std::collections::BTreeMap<Code, u64>,
    ) {
        if counts.is_empty() {
            return;
        }
        self.raw(&format!("<h2 class=\"{class}\">"));
        self.text(title);
        self.raw("</h2>\n");
        self.head(&[("n", "number"), ("", "kind"), ("", "for example"), ("", "lines")]);
        for (code, count) in counts {
            let mut of_code = findings.iter().filter(|finding| finding.code == *code);
            let example = of_code.clone().next();
            self.raw("<tr>");
            self.cell("n", &grouped(*count));
            self.raw("<td class=\"kind\"><code>");
            self.text(code.as_str());
            self.raw("</code></td><td>");
            if let Some(finding) = example {
                self.text(&finding.message);
                self.raw("<br><span class=\"soft\">");
                self.text(&finding.fix);
                self.raw("</span>");
            }
            self.raw("</td>");
            let mut places: Vec<String> = of_code.by_ref().take(FIRST_PLACES).map(place).collect();
            if *count > places.len() as u64 {
                places.push("…".into());
            }
            self.cell("", &places.join(", "));
            self.raw("</tr>\n");
        }
        self.foot();
    }

    fn statistics(&mut self, statistics: &Statistics) {
        self.raw("<h2>What it holds</h2>\n");
        self.head(&[("", "what"), ("n", "number")]);
        let (roles, with, spread) =
            (&statistics.messages, &statistics.rows_with, &statistics.messages_per_row);
        let mut rows = vec![
            ("good rows".to_owned(), grouped(statistics.good_rows)),
            ("answers that are learnt".to_owned(), grouped(statistics.trained_answers)),
            ("characters".to_owned(), grouped(statistics.characters)),
            ("characters that are learnt".to_owned(), grouped(statistics.trained_characters)),
        ];
        if spread.max > 0 {
            let range = format!("{} to {}, {:.1} on average", spread.min, spread.max, spread.mean);
            rows.push(("messages of a row".into(), range));
        }
        for (name, count) in [
            ("messages of system", roles.system),
            ("messages of user", roles.user),
            ("messages of assistant", roles.assistant),
            ("messages of tool", roles.tool),
            ("rows with a system message", with.system),
            ("rows with tools", with.tools),
            ("rows with calls of tools", with.tool_calls),
            ("rows with reasoning", with.reasoning),
            ("rows with a weight", with.weight),
        ] {
            if count > 0 {
                rows.push((name.to_owned(), grouped(count)));
            }
        }
        for (name, value) in rows {
            self.raw("<tr>");
            self.cell("", &name);
            self.cell("n", &value);
            self.raw("</tr>\n");
        }
        self.foot();
    }

    fn tokens(&mut self, tokens: &TokenStatistics) {
        self.raw("<h2>Lengths</h2>\n");
        let shown: Vec<String> = tokens
            .percentiles
            .iter()
            .map(|(percent, length)| format!("{percent} % up to {}", grouped(*length)))
            .collect();
        self.raw("<p>");
        self.text(&format!("Tokens of a sample: {}.", shown.join(", ")));
        self.raw("</p>\n");
        self.histogram(&tokens.histogram);
        if let Some(packed) = &tokens.packed {
            let batch = match (packed.batch_size_samples, packed.batch_size_tokens) {
                (Some(samples), _) => counted(samples as u64, "sample"),
                (_, tokens) => counted(tokens.unwrap_or_default() as u64, "token"),
            };
            self.raw("<p>");
            self.text(&format!(
                "In batches of {batch}, an epoch has {} and {}, which are filled to {}.",
                counted(packed.steps_per_epoch, "step"),
                match packed.micro_batches_per_epoch {
                    1 => "1 micro-batch".to_owned(),
                    count => format!("{} micro-batches", grouped(count)),
                },
                percent(packed.efficiency)
            ));
            self.raw("</p>\n");
        }
        self.raw("<h2>What a context length leaves out</h2>\n");
        self.head(&[
            ("n", "context length"),
            ("n", "samples left out"),
            ("n", "of samples"),
            ("n", "of tokens"),
        ]);
        for dropped in &tokens.dropped {
            self.raw("<tr>");
            self.cell("n", &grouped(dropped.context_length as u64));
            self.cell("n", &grouped(dropped.samples));
            self.cell("n", &percent(dropped.sample_share));
            self.cell("n", &percent(dropped.token_share));
            self.raw("</tr>\n");
        }
        self.foot();
    }

    fn histogram(&mut self, bins: &[Bin]) {
        const HEIGHT: f64 = 160.0;
        const BAR: f64 = 52.0;
        const TOP: f64 = 20.0;
        const BOTTOM: f64 = 24.0;
        let most = bins.iter().map(|bin| bin.samples).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        let width = BAR * bins.len() as f64;
        let _ = writeln!(
            self.out,
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"samples by length\" style=\"max-width: {}px\">",
            width,
            HEIGHT + TOP + BOTTOM,
            width * 1.2
        );
        for (index, bin) in bins.iter().enumerate() {
            let height = HEIGHT * bin.samples as f64 / most as f64;
            let (x, y) = (BAR * index as f64, TOP + HEIGHT - height);
            let (middle, below) = (x + BAR / 2.0, TOP + HEIGHT + 16.0);
            let _ = writeln!(
                self.out,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\"/>\
                 <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
                 <text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">≤ {}</text>",
                x + 4.0,
                BAR - 8.0,
                y - 5.0,
                short(bin.samples),
                short(bin.up_to_tokens)
            );
        }
        self.raw("</svg>\n");
    }

    fn all(&mut self, title: &str, findings: &[Finding], count: u64) {
        if findings.is_empty() {
            return;
        }
        self.raw("<details><summary>");
        let listed = match count == findings.len() as u64 {
            true => String::new(),
            false => format!(", {} of them listed", grouped(findings.len() as u64)),
        };
        self.text(&format!("{title}: {}{listed}", grouped(count)));
        self.raw("</summary>\n");
        self.head(&[("n", "line"), ("", "where"), ("", "what"), ("", "what to do")]);
        for finding in findings {
            self.raw("<tr>");
            self.cell("n", &place(finding));
            self.raw("<td><code>");
            self.text(&finding.pointer);
            self.raw("</code></td>");
            self.cell("", &finding.message);
            self.cell("fix", &finding.fix);
            self.raw("</tr>\n");
        }
        self.foot();
        self.raw("</details>\n");
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A number in few characters.
fn short(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{:.1}M", number as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use hearth_data::Renderer;
    use hearth_data::check::{Input, Options, check};

    use super::*;

    #[test]
    fn the_page_holds_all_and_escapes_what_it_shows() {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/tiny");
        let renderer = Renderer::open(&tiny, None).unwrap();
        let options = Options {
            renderer: Some(&renderer),
            context_length: 2048,
            model_context_length: 2048,
            ..Options::default()
        };
        let pair = |prompt: &str, completion: &str| {
            serde_json::json!({"prompt": prompt, "completion": completion}).to_string()
        };
        let rows = [pair("one", "two"), pair("three", "four"), pair("five", ""), "{\"<b>\": 1}".into()];
        let input = Input::new("rows", Box::new(Cursor::new(rows.join("\n").into_bytes())));
        let report = check(vec![input], Vec::new(), &options).unwrap();
        let html = page(&report, "a <file> & more");
        for part in
            ["a &lt;file&gt; &amp; more", "<svg ", "empty_answer", "missing_field", "color-scheme: dark"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
    }

    #[test]
    fn numbers_are_grouped() {
        let check = |number, expect: &str| assert_eq!(grouped(number), expect);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(12_345_678, "12,345,678");
    }
}

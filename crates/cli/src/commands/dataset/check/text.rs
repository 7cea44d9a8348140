//! The report for people at a terminal.

use std::collections::BTreeMap;

use anyhow::Result;
use hearth_data::check::{Bin, Fixed, Report, Statistics, TokenStatistics};
use hearth_data::{Code, Finding};

use crate::output;

/// Findings of one kind that are shown.
const SHOWN_OF_A_CODE: usize = 5;
/// Changes that are shown.
const SHOWN_CHANGES: usize = 20;
/// Characters of the longest bar.
const BAR_WIDTH: u64 = 40;

/// Summary, findings by kind, statistics.
pub fn print(report: &Report) -> Result<()> {
    let evaluation = report.evaluation_rows.map(|rows| format!(" and {rows} of evaluation data"));
    output::line(&format!(
        "{}{}: {}, {}",
        counted(report.rows, "row"),
        evaluation.unwrap_or_default(),
        counted(report.error_count, "error"),
        counted(report.warning_count, "warning")
    ))?;
    groups("error", &report.errors, &report.error_counts)?;
    groups("warning", &report.warnings, &report.warning_counts)?;
    statistics(&report.statistics)?;
    if let Some(found) = &report.tokens {
        tokens(found)?;
    }
    Ok(())
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn groups(kind: &str, findings: &[Finding], counts: &BTreeMap<Code, u64>) -> Result<()> {
    for (code, count) in counts {
        output::line("")?;
        output::line(&format!("{kind} {code}: {count}"))?;
        let of_code = || findings.iter().filter(|finding| finding.code == *code);
        for finding in of_code().take(SHOWN_OF_A_CODE) {
            output::line(&format!("  {finding}"))?;
        }
        let more = count - of_code().take(SHOWN_OF_A_CODE).count() as u64;
        if more > 0 {
            output::line(&format!("  and {more} more"))?;
        }
    }
    Ok(())
}

fn statistics(statistics: &Statistics) -> Result<()> {
    let (roles, with, spread) = (&statistics.messages, &statistics.rows_with, &statistics.messages_per_row);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("good rows", statistics.good_rows.to_string());
    row("bytes", statistics.bytes.to_string());
    row("learnt answers", statistics.trained_answers.to_string());
    row("characters", format!("{}, {} of them learnt", statistics.characters, statistics.trained_characters));
    if spread.max > 0 {
        row("messages of a row", format!("{} to {}, mean {:.1}", spread.min, spread.max, spread.mean));
    }
    for (name, count) in [
        ("system messages", roles.system),
        ("user messages", roles.user),
        ("assistant messages", roles.assistant),
        ("tool messages", roles.tool),
        ("rows with tools", with.tools),
        ("rows with calls", with.tool_calls),
        ("rows with reasoning", with.reasoning),
        ("rows with a weight", with.weight),
    ] {
        if count > 0 {
            row(name, count.to_string());
        }
    }
    output::line("")?;
    output::table(&[], &rows)
}

fn tokens(tokens: &TokenStatistics) -> Result<()> {
    let mut rows = vec![
        vec!["context length".to_owned(), tokens.context_length.to_string()],
        vec!["samples".to_owned(), format!("{}, {} more too long", tokens.samples, tokens.samples_too_long)],
        vec!["tokens".to_owned(), format!("{}, {} of them learnt", tokens.tokens, tokens.trained_tokens)],
    ];
    let percentiles: Vec<String> =
        tokens.percentiles.iter().map(|(percent, length)| format!("{percent} % up to {length}")).collect();
    rows.push(vec!["tokens of a sample".to_owned(), percentiles.join(", ")]);
    if let Some(packed) = &tokens.packed {
        let steps = format!(
            "{} an epoch, {} micro-batches filled to {:.0} %",
            packed.steps_per_epoch,
            packed.micro_batches_per_epoch,
            packed.efficiency * 100.0
        );
        rows.push(vec!["steps".to_owned(), steps]);
    }
    output::table(&[], &rows)?;
    output::line("")?;
    let most = tokens.histogram.iter().map(|bin| bin.samples).max().unwrap_or(0).max(1);
    let bar = |bin: &Bin| {
        let width = (bin.samples * BAR_WIDTH).div_ceil(most);
        vec![format!("up to {}", bin.up_to_tokens), bin.samples.to_string(), "#".repeat(width as usize)]
    };
    output::table(&["TOKENS", "SAMPLES", ""], &tokens.histogram.iter().map(bar).collect::<Vec<_>>())?;
    output::line("")?;
    let dropped: Vec<Vec<String>> = tokens
        .dropped
        .iter()
        .map(|row| {
            let percent = |share: f64| format!("{:.1} %", share * 100.0);
            vec![
                row.context_length.to_string(),
                row.samples.to_string(),
                percent(row.sample_share),
                percent(row.token_share),
            ]
        })
        .collect();
    output::table(&["CONTEXT LENGTH", "LEFT OUT", "OF SAMPLES", "OF TOKENS"], &dropped)
}

/// What was corrected.
pub fn print_fixed(fixed: &Fixed) -> Result<()> {
    output::line("")?;
    output::line(&format!(
        "written {}, {} of them changed; left out {}",
        counted(fixed.rows, "row"),
        fixed.changed,
        counted(fixed.left_out, "row")
    ))?;
    for change in fixed.changes.iter().take(SHOWN_CHANGES) {
        let place = if change.line == 0 { String::new() } else { format!("line {}: ", change.line) };
        output::line(&format!("  {place}{}", change.message))?;
    }
    let more = fixed.change_count - fixed.changes.len().min(SHOWN_CHANGES) as u64;
    if more > 0 {
        output::line(&format!("  and {more} more changes"))?;
    }
    Ok(())
}

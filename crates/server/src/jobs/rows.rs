//! What a run says of the rows that it trains on, for people. No contents of rows: counts and places.

use hearth_run::{Dropped, EventKind};

/// Rows that a message lists; the others are counted.
const LISTED_ROWS_MAX: usize = 20;

/// A sentence about rows that are left out or set aside, if this event tells of rows; empty if there is nothing to say.
pub(super) fn note(event: &EventKind, max_context_length: u32) -> Option<String> {
    let EventKind::Validated {
        rows,
        dropped_too_long,
        dropped_lines,
        dropped_files,
        eval_rows,
        eval_carved_out,
        eval_dropped,
        ..
    } = event
    else {
        return None;
    };
    let dropped =
        Dropped { count: *dropped_too_long, lines: dropped_lines.clone(), files: dropped_files.clone() };
    let mut parts = Vec::new();
    if dropped.count > 0 {
        parts.push(too_long(&dropped, &format!("{rows} rows"), max_context_length, "left out"));
    }
    if eval_dropped.count > 0 {
        let of = format!("{eval_rows} evaluation rows");
        parts.push(too_long(eval_dropped, &of, max_context_length, "not scored"));
    }
    match eval_carved_out {
        0 => {}
        1 => parts.push("1 row is set aside for evaluation".to_owned()),
        count => parts.push(format!("{count} rows are set aside for evaluation")),
    }
    Some(parts.join("; "))
}

fn too_long(dropped: &Dropped, of: &str, max_context_length: u32, what: &str) -> String {
    let count = dropped.count;
    let (are, line) = if count == 1 { ("is", "line") } else { ("are", "lines") };
    let place = |(index, line): (usize, &u64)| match dropped.files.get(index) {
        Some(file) => format!("{line} of file {}", file + 1),
        None => line.to_string(),
    };
    let places: Vec<String> = dropped.lines.iter().take(LISTED_ROWS_MAX).enumerate().map(place).collect();
    let more = match count - places.len() as u64 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{count} of {of} {are} longer than {max_context_length} tokens (maxContextLength) and {are} {what}: \
         {line} {}{more}",
        places.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dropped: Dropped, eval_dropped: Dropped, eval_carved_out: u64, expect: &str) {
        let event = EventKind::Validated {
            rows: 300,
            samples: 1,
            dropped_too_long: dropped.count,
            dropped_lines: dropped.lines,
            dropped_files: dropped.files,
            tokens_per_epoch: 1,
            trained_tokens_per_epoch: 1,
            eval_rows: 40,
            eval_carved_out,
            eval_dropped,
            total_steps: 1,
            ledger_sha256: String::new(),
        };
        assert_eq!(note(&event, 512).unwrap(), expect);
    }

    #[test]
    fn rows_that_are_left_out_or_set_aside_are_told() {
        let none = Dropped::default;
        let at = |lines: &[u64]| Dropped { count: lines.len() as u64, lines: lines.to_vec(), files: vec![] };
        check(none(), none(), 0, "");
        check(
            at(&[3, 17]),
            none(),
            30,
            "2 of 300 rows are longer than 512 tokens (maxContextLength) and are left out: lines 3, 17; 30 rows are \
             set aside for evaluation",
        );
        check(
            Dropped { count: 1, lines: vec![9], files: vec![1] },
            at(&[2]),
            0,
            "1 of 300 rows is longer than 512 tokens (maxContextLength) and is left out: line 9 of file 2; 1 of 40 \
             evaluation rows is longer than 512 tokens (maxContextLength) and is not scored: line 2",
        );
        let many = Dropped { count: 200, lines: (1..=100).collect(), files: vec![] };
        let listed: Vec<String> = (1..=20).map(|line: u64| line.to_string()).collect();
        let expect = format!(
            "200 of 300 rows are longer than 512 tokens (maxContextLength) and are left out: lines {} and 180 more; 1 \
             row is set aside for evaluation",
            listed.join(", ")
        );
        check(many, none(), 1, &expect);
        assert_eq!(note(&EventKind::Writing { step: 1 }, 512), None);
    }
}

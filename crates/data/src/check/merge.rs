//! What blocks hold, put together in the order of lines, and the checks that need more than one row.

use std::collections::BTreeMap;

use super::repeats::{Like, Repeats};
use super::rows::{Found, Good, Numbers, Outcome, Worker};
use super::script::Script;
use super::statistics::TokenStatistics;
use super::{MAX_LISTED_ERRORS, MAX_LISTED_OF_A_WARNING, MAX_LISTED_WARNINGS, Options, Report};
use crate::finding::{Code, Finding};
use crate::read::{Kind, MIN_ROWS};
use crate::row::Spelling;

/// After each so many rows it is asked whether going on is worth it.
pub const GIVE_UP_ROWS: u32 = 10_000;
/// Bad ones among these from which on it is not, in percent.
pub const GIVE_UP_PERCENT: u32 = 95;
/// Fewest rows of which one of another script is remarkable.
const SCRIPT_ROWS_MIN: u64 = 100;
/// A script is rare up to this share of rows, in percent, if nearly all others are in one.
const RARE_PERCENT: u64 = 5;

/// A place in the files.
#[derive(Clone, Copy)]
struct At {
    file: usize,
    line: u64,
}

/// Where rows begin whose lines follow one another, in 12 bytes: the row, the file and the line, the most significant bytes
/// first. A file has one for each blank line.
#[derive(Clone, Copy)]
struct Run([u8; 12]);

impl Run {
    fn new(row: u32, at: At) -> Self {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&row.to_be_bytes());
        bytes[4..6].copy_from_slice(&(at.file as u16).to_be_bytes());
        bytes[6..].copy_from_slice(&at.line.to_be_bytes()[2..]);
        Run(bytes)
    }

    fn row(self) -> u32 {
        u32::from_be_bytes(self.0[..4].try_into().expect("four bytes"))
    }

    fn at(self) -> At {
        let mut line = [0; 8];
        line[2..].copy_from_slice(&self.0[6..]);
        let file = u16::from_be_bytes(self.0[4..6].try_into().expect("two bytes"));
        At { file: file.into(), line: u64::from_be_bytes(line) }
    }
}

/// Rows of a kind.
#[derive(Default)]
struct OfKind {
    count: u64,
    /// The first of them, in the order of lines.
    first: Vec<At>,
    numbers: Numbers,
}

#[derive(Default)]
struct ScriptRows {
    count: u64,
    /// The first of them.
    rows: Vec<u32>,
}

/// Takes the outcomes of blocks.
pub(super) struct Merger<'a> {
    options: &'a Options<'a>,
    names: Vec<String>,
    training_files: usize,
    is_evaluation: bool,
    /// Of the training data.
    kind: Option<Kind>,
    /// Of the set that is read now.
    kinds: BTreeMap<Kind, OfKind>,
    /// What most rows of it are so far, and how many.
    leading: Option<(Kind, u64)>,
    numbers: Numbers,
    bytes: u64,
    has_weights: bool,
    /// Errors of the sets before.
    errors_before: u64,
    rows: [u64; 2],
    window: (u32, u32),
    gave_up: bool,
    /// With the number of its file, to sort by.
    errors: Vec<(usize, Finding)>,
    error_counts: BTreeMap<Code, u64>,
    warnings: Vec<(usize, Finding)>,
    warning_counts: BTreeMap<Code, u64>,
    spellings: BTreeMap<(usize, Spelling), (u64, u64)>,
    repeats: Repeats,
    remembered: u32,
    runs: Vec<Run>,
    scripts: Vec<ScriptRows>,
}

impl<'a> Merger<'a> {
    /// `names` are those of all files, the first `training_files` of which are trained on.
    pub(super) fn new(options: &'a Options<'a>, names: Vec<String>, training_files: usize) -> Self {
        Merger {
            options,
            names,
            training_files,
            is_evaluation: false,
            kind: None,
            kinds: BTreeMap::new(),
            leading: None,
            numbers: Numbers::default(),
            bytes: 0,
            has_weights: false,
            errors_before: 0,
            rows: [0; 2],
            window: (0, 0),
            gave_up: false,
            errors: Vec::new(),
            error_counts: BTreeMap::new(),
            warnings: Vec::new(),
            warning_counts: BTreeMap::new(),
            spellings: BTreeMap::new(),
            repeats: Repeats::default(),
            remembered: 0,
            runs: Vec::new(),
            scripts: Script::ALL.iter().map(|_| ScriptRows::default()).collect(),
        }
    }

    /// Takes the next block; `worker` repeats the part of it up to where the reading is given up. False when nothing
    /// more is to come.
    pub(super) fn take(&mut self, mut outcome: Outcome, worker: &mut Worker<'_>) -> bool {
        let file = outcome.block.file;
        if let Some(rows) = self.give_up_after(&outcome) {
            let line = outcome.notes[rows - 1].line;
            outcome.block.cut(rows);
            outcome = worker.process(outcome.block);
            let message = format!(
                "nearly all of the last {GIVE_UP_ROWS} rows are bad, so what follows is not looked at, in no file"
            );
            let fix = "see what the first errors say; is it a file of rows, one JSON object a line?";
            outcome.block.end = Some(Finding::new(line, "", Code::GaveUp, message, fix));
            self.gave_up = true;
        }
        self.rows[usize::from(self.is_evaluation)] += outcome.notes.len() as u64;
        for note in &outcome.notes {
            if let Some(good) = note.good {
                let at = At { file, line: note.line };
                #[cfg(test)]
                assert_ne!(note.line, super::tests::PANICS_IN_THE_MERGER, "as the merger might");
                let of_kind = self.kinds.entry(good.kind).or_default();
                of_kind.count += 1;
                if of_kind.first.len() < MAX_LISTED_ERRORS {
                    of_kind.first.push(at);
                }
                // Rows of another kind are errors, and compared with none.
                let count = of_kind.count;
                let leading = self.leading.get_or_insert((good.kind, 0));
                if count > leading.1 {
                    *leading = (good.kind, count);
                }
                if leading.0 == good.kind {
                    self.compare(at, good);
                }
            }
        }
        if !self.is_evaluation {
            self.bytes += outcome.block.size_bytes;
            for (kind, numbers) in outcome.kinds {
                let all = &mut self.kinds.entry(kind).or_default().numbers;
                all.statistics.merge(&numbers.statistics);
                all.tokens.merge(numbers.tokens);
            }
        }
        for (spelling, (line, count)) in outcome.spellings {
            self.spellings.entry((file, spelling)).or_insert((line, 0)).1 += count;
        }
        let mut errors = outcome.errors;
        if let Some(end) = outcome.block.end.take() {
            *errors.counts.entry(end.code).or_default() += 1;
            errors.listed.push(end);
        }
        self.add_errors(file, errors);
        self.add_warnings(file, outcome.warnings);
        !self.gave_up
    }

    /// Rows of the block after which too many were bad.
    fn give_up_after(&mut self, outcome: &Outcome) -> Option<usize> {
        for (index, note) in outcome.notes.iter().enumerate() {
            let (rows, bad) = &mut self.window;
            *rows += 1;
            *bad += u32::from(note.good.is_none());
            if *rows == GIVE_UP_ROWS {
                let is_hopeless = *bad >= GIVE_UP_ROWS / 100 * GIVE_UP_PERCENT;
                self.window = (0, 0);
                if is_hopeless {
                    return Some(index + 1);
                }
            }
        }
        None
    }

    fn add_errors(&mut self, file: usize, found: Found) {
        let room = MAX_LISTED_ERRORS.saturating_sub(self.errors.len());
        // Whatever the list holds, it says why it ends.
        let is_last = |finding: &Finding| {
            matches!(finding.code, Code::GaveUp | Code::TooManyRows | Code::BadCompression)
        };
        for (index, finding) in found.listed.into_iter().enumerate() {
            if index < room || is_last(&finding) {
                self.errors.push((file, finding));
            }
        }
        for (code, count) in found.counts {
            *self.error_counts.entry(code).or_default() += count;
        }
    }

    fn add_warnings(&mut self, file: usize, found: Found) {
        let mut counts = self.warning_counts.clone();
        for finding in found.listed {
            let count = counts.entry(finding.code).or_default();
            *count += 1;
            if *count <= MAX_LISTED_OF_A_WARNING {
                self.warnings.push((file, finding));
            }
        }
        for (code, count) in found.counts {
            *self.warning_counts.entry(code).or_default() += count;
        }
    }

    fn error(&mut self, file: usize, code: Code, message: String, fix: String) {
        let mut found = Found::default();
        found.error(Finding::new(0, "", code, message, fix));
        self.add_errors(file, found);
    }

    fn warn(&mut self, at: At, code: Code, message: String, fix: &str) {
        let mut found = Found::default();
        found.warning(code, || Finding::new(at.line, "", code, message, fix));
        self.add_warnings(at.file, found);
    }

    fn compare(&mut self, at: At, good: Good) {
        if self.is_evaluation {
            self.look_for_leakage(at, good);
            return;
        }
        let row = self.remembered;
        self.remembered = self.remembered.saturating_add(1);
        let follows = self.runs.last().is_some_and(|run| {
            run.at().file == at.file && run.at().line + u64::from(row - run.row()) == at.line
        });
        if !follows {
            self.runs.push(Run::new(row, at));
        }
        self.repeats.push(row, good.identity);
        if let Some(script) = good.script {
            let rows = &mut self.scripts[script as usize];
            rows.count += 1;
            if (rows.rows.len() as u64) < MAX_LISTED_OF_A_WARNING {
                rows.rows.push(row);
            }
        }
    }

    fn look_for_leakage(&mut self, at: At, good: Good) {
        let Some((row, like)) = self.repeats.look_up(good.identity) else { return };
        let what = match like {
            Like::Same => "this row of the evaluation data is",
            Like::Near => "this row of the evaluation data is nearly",
            Like::OtherAnswer => "this row of the evaluation data has, with another answer, the question of",
        };
        // The two are in two files.
        let first = self.at(row);
        let message = format!(
            "{what} line {} of the training data{}",
            first.line,
            if self.training_files > 1 { format!(" in {}", self.names[first.file]) } else { String::new() }
        );
        let fix = "leave it out of one of them: what was learnt by heart tells nothing of other rows";
        self.warn(at, Code::Leakage, message, fix);
    }

    fn at(&self, row: u32) -> At {
        let run = self.runs[self.runs.partition_point(|run| run.row() <= row) - 1];
        At { file: run.at().file, line: run.at().line + u64::from(row - run.row()) }
    }

    /// Ends the training data; what comes then is evaluation data, if there is some.
    pub(super) fn end_training(&mut self) {
        self.end_of_rows();
        let most = usize::try_from(MAX_LISTED_OF_A_WARNING).expect("a small number");
        for (like, places) in self.repeats.find(most) {
            let (code, fix) = match like {
                Like::Same => (Code::DuplicateRow, "leave it out, unless it shall count twice"),
                Like::Near => (Code::NearDuplicateRow, "leave one of them out, unless both are wanted"),
                Like::OtherAnswer => {
                    (Code::ConflictingAnswers, "keep the better answer, unless several are right")
                }
            };
            let count = places.count;
            let places = places.into_vec();
            let unlisted = count - places.len() as u64;
            for (row, first) in places {
                let (at, first) = (self.at(row), self.at(first));
                let place = match first.file == at.file {
                    true => format!("line {}", first.line),
                    false => format!("line {} of {}", first.line, self.names[first.file]),
                };
                let message = match like {
                    Like::Same => format!("the row is the same as {place}"),
                    Like::Near => {
                        format!(
                            "the row is the same as {place} but for case, white space and punctuation, a name, an id or its weight"
                        )
                    }
                    Like::OtherAnswer => format!("{place} has the same question with another answer"),
                };
                self.warn(at, code, message, fix);
            }
            if unlisted > 0 {
                *self.warning_counts.entry(code).or_default() += unlisted;
            }
        }
        self.rare_scripts();
        self.kind = self.settle_kinds();
        self.leading = None;
        self.is_evaluation = true;
        self.window = (0, 0);
        self.errors_before = self.error_counts.values().sum();
        if self.training_files < self.names.len() {
            self.repeats.keep_questions();
        }
    }

    /// What most rows of the set are; the others are errors, and do not count for the numbers.
    fn settle_kinds(&mut self) -> Option<Kind> {
        let kinds = std::mem::take(&mut self.kinds);
        let of_format = |kind: Kind| -> u64 {
            kinds
                .iter()
                .filter(|(other, _)| other.format == kind.format)
                .map(|(_, of_kind)| of_kind.count)
                .sum()
        };
        // Of equally many, those that come first.
        let first = |of_kind: &OfKind| of_kind.first.first().map(|at| std::cmp::Reverse((at.file, at.line)));
        let most = kinds
            .iter()
            .max_by_key(|(kind, of_kind)| (of_format(**kind), of_kind.count, first(of_kind)))
            .map(|(kind, _)| *kind)?;
        self.has_weights |= !self.is_evaluation && kinds.keys().any(|kind| kind.is_weighted);
        for (kind, of_kind) in kinds {
            let Some(code) = most.mismatch(kind, 0).map(|finding| finding.code) else {
                if !self.is_evaluation {
                    self.numbers = of_kind.numbers;
                }
                continue;
            };
            let mut by_file: BTreeMap<usize, Found> = BTreeMap::new();
            for at in &of_kind.first {
                let finding = most.mismatch(kind, at.line).expect("these differ");
                by_file.entry(at.file).or_default().error(finding);
            }
            for (file, found) in by_file {
                self.add_errors(file, found);
            }
            let unlisted = of_kind.count - of_kind.first.len() as u64;
            if unlisted > 0 {
                *self.error_counts.entry(code).or_default() += unlisted;
            }
        }
        Some(most)
    }

    /// Whether evaluation data can be compared.
    pub(super) fn may_go_on(&self) -> bool {
        !self.gave_up
    }

    /// What is said of the number of rows of a set of files.
    fn end_of_rows(&mut self) {
        let rows = self.rows[usize::from(self.is_evaluation)];
        let file = if self.is_evaluation { self.training_files } else { 0 };
        let fix = format!("a dataset needs at least {MIN_ROWS} rows");
        if rows == 0 && self.error_counts.values().sum::<u64>() == self.errors_before {
            self.error(file, Code::EmptyFile, "the file is empty".into(), fix);
        } else if rows < MIN_ROWS && rows > 0 {
            self.error(file, Code::TooFewRows, format!("the file has {rows} rows"), fix);
        }
    }

    fn rare_scripts(&mut self) {
        let all: u64 = self.scripts.iter().map(|script| script.count).sum();
        let Some(most) = self.scripts.iter().map(|script| script.count).max() else { return };
        if all < SCRIPT_ROWS_MIN || (all - most) * 100 > all * RARE_PERCENT {
            return;
        }
        let Some(common) = self.scripts.iter().position(|script| script.count == most) else { return };
        let scripts = std::mem::take(&mut self.scripts);
        for (script, found) in
            Script::ALL.iter().zip(scripts).filter(|(script, _)| **script as usize != common)
        {
            let unlisted = found.count - found.rows.len() as u64;
            for row in found.rows {
                let message = format!(
                    "the row is written in {}, nearly all others in {}",
                    script.name(),
                    Script::ALL[common].name()
                );
                let fix = "check that it belongs here";
                self.warn(self.at(row), Code::RareScript, message, fix);
            }
            if unlisted > 0 {
                *self.warning_counts.entry(Code::RareScript).or_default() += unlisted;
            }
        }
    }

    /// The report of all that was taken.
    pub(super) fn finish(mut self) -> Report {
        let has_evaluation = self.training_files < self.names.len();
        if has_evaluation && (!self.gave_up || self.rows[1] > 0) {
            self.end_of_rows();
            self.settle_kinds();
        }
        for ((file, spelling), (line, count)) in std::mem::take(&mut self.spellings) {
            let message = match count {
                1 => spelling.message().to_owned(),
                _ => format!("{} ({count} rows)", spelling.message()),
            };
            self.warn(At { file, line }, Code::ReadAs, message, "check that this is what was meant");
        }
        // Their memory is for the lengths now.
        self.repeats = Repeats::default();
        self.runs = Vec::new();
        let options = self.options;
        let tokens = options.renderer.map(|_| {
            TokenStatistics::new(
                std::mem::take(&mut self.numbers.tokens),
                options.context_length,
                options.model_context_length,
                &options.batching,
            )
        });
        if self.error_counts.is_empty() && tokens.as_ref().is_some_and(|tokens| tokens.samples == 0) {
            let message = "no row is left to train on: all are too long".to_owned();
            let fix = "shorten the rows, or train with a longer context".to_owned();
            self.error(0, Code::NothingToTrain, message, fix);
        }
        let is_several = self.names.len() > 1;
        let named = |mut list: Vec<(usize, Finding)>| -> Vec<Finding> {
            list.sort_by_key(|(file, finding)| (*file, finding.line));
            let name = |(file, mut finding): (usize, Finding)| {
                finding.file = is_several.then(|| self.names[file].clone());
                finding
            };
            list.into_iter().map(name).collect()
        };
        let errors = named(std::mem::take(&mut self.errors));
        let mut warnings = named(std::mem::take(&mut self.warnings));
        warnings.truncate(MAX_LISTED_WARNINGS);
        let mut statistics = self.numbers.statistics;
        statistics.bytes = self.bytes;
        Report {
            rows: self.rows[0],
            evaluation_rows: has_evaluation.then_some(self.rows[1]),
            format: self.kind.map(|kind| kind.format),
            kind: self.kind,
            has_weights: self.has_weights,
            error_count: self.error_counts.values().sum(),
            errors,
            error_counts: self.error_counts,
            warning_count: self.warning_counts.values().sum(),
            warnings,
            warning_counts: self.warning_counts,
            statistics,
            tokens,
        }
    }
}

//! Checking all of a dataset before it is trained on: a report of what is wrong, what is remarkable, and what it holds.
//!
//! One thread cuts the files into blocks of lines, others check the rows of a block each (`rows`), and the caller's
//! thread puts the outcomes together in the order of lines (`merge`). The report is the same with any number of
//! threads. Memory is bounded: by what may be on the way at once, by 20 bytes a row for repeats (9 more with evaluation
//! data) and 12 for each gap between rows, 4 bytes a sample for lengths, and by some times the longest line.

mod blocks;
mod fix;
mod identity;
mod merge;
mod repeats;
mod rows;
mod script;
mod statistics;
mod text;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

pub use blocks::Input;
pub use fix::{FixOptions, Fixed, fix};
pub use merge::{GIVE_UP_PERCENT, GIVE_UP_ROWS};
pub use statistics::{Batching, Bin, Dropped, Packed, Roles, RowsWith, Spread, Statistics, TokenStatistics};

use crate::error::Error;
use crate::finding::{Code, Finding};
use crate::pack::BatchSize;
use crate::read::{Kind, Limits};
use crate::render::Renderer;
use crate::row::Format;
use blocks::{Block, Cutter};
use merge::Merger;
use rows::{Outcome, Worker};
use text::Scanner;

/// Most errors that a [`Report`] lists, but for one that says why the reading ended; the rest is only counted.
pub const MAX_LISTED_ERRORS: usize = 10_000;
/// Most warnings that a [`Report`] lists.
pub const MAX_LISTED_WARNINGS: usize = 10_000;
/// Most warnings of one code that a [`Report`] lists.
pub const MAX_LISTED_OF_A_WARNING: u64 = 1_000;
/// Bytes of a block, unless there are many threads.
const BLOCK_BYTES: usize = 1 << 20;
/// Least bytes of a block.
const BLOCK_BYTES_MIN: usize = 64 << 10;
/// Bytes of all blocks that are on the way. One block alone may have more, if it has a long line.
const BYTES_ON_THE_WAY: usize = 16 << 20;

/// What to check, and against what.
pub struct Options<'a> {
    /// Limits of lines and rows.
    pub limits: Limits,
    /// With it, rows are rendered and tokens counted.
    pub renderer: Option<&'a Renderer>,
    /// Longest sample, in tokens. Only with a renderer.
    pub context_length: usize,
    /// Longest sample that the model takes, in tokens. Only with a renderer.
    pub model_context_length: usize,
    /// How samples would be packed. Only with a renderer.
    pub batching: Batching,
    /// Threads that check rows; 0 for as many as there are cores.
    pub threads: usize,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            limits: Limits::default(),
            renderer: None,
            context_length: usize::MAX,
            model_context_length: usize::MAX,
            batching: Batching { batch_size: BatchSize::Samples(8), micro_batch_tokens: 1024, seed: 0 },
            threads: 0,
        }
    }
}

/// What a dataset is like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Rows, good and bad, blank lines not counted.
    pub rows: u64,
    /// Rows of the evaluation data, if there is some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation_rows: Option<u64>,
    /// The format; `None` when no row is good.
    #[serde(serialize_with = "format_name")]
    pub format: Option<Format>,
    /// What most rows are, and all must be; `None` when no row is good.
    #[serde(skip)]
    pub kind: Option<Kind>,
    /// Whether a good row has a weight.
    #[serde(skip)]
    pub has_weights: bool,
    /// All errors.
    pub error_count: u64,
    /// All warnings.
    pub warning_count: u64,
    /// All errors by their code.
    #[serde(skip)]
    pub error_counts: BTreeMap<Code, u64>,
    /// All warnings by their code.
    #[serde(skip)]
    pub warning_counts: BTreeMap<Code, u64>,
    /// The first [`MAX_LISTED_ERRORS`] errors, in the order of lines.
    pub errors: Vec<Finding>,
    /// The first warnings of each code, in the order of lines.
    pub warnings: Vec<Finding>,
    /// What good rows are made of.
    #[serde(skip)]
    pub statistics: Statistics,
    /// The same in tokens, if there was a renderer.
    #[serde(skip)]
    pub tokens: Option<TokenStatistics>,
}

impl Report {
    /// Its numbers in one JSON object: the statistics, those of tokens in `tokens`, and how many findings each code has.
    pub fn numbers(&self) -> Value {
        let mut numbers = json!(self.statistics);
        numbers["tokens"] = json!(self.tokens);
        numbers["error_counts"] = json!(self.error_counts);
        numbers["warning_counts"] = json!(self.warning_counts);
        numbers
    }

    /// Whether the dataset may be trained on.
    pub fn is_ok(&self) -> bool {
        self.error_count == 0
    }
}

fn format_name<S: Serializer>(format: &Option<Format>, serializer: S) -> Result<S::Ok, S::Error> {
    match format {
        Some(Format::Chat) => serializer.serialize_some("chat"),
        Some(Format::Completion) => serializer.serialize_some("completion"),
        None => serializer.serialize_none(),
    }
}

/// Checks the files of a dataset, and with `evaluation` those of its evaluation data. The error is for input that cannot
/// be read at all.
pub fn check(
    files: Vec<Input<'_>>,
    evaluation: Vec<Input<'_>>,
    options: &Options<'_>,
) -> Result<Report, Error> {
    let names = files.iter().chain(&evaluation).map(|input| input.name.clone()).collect();
    let training_files = files.len();
    let has_evaluation = !evaluation.is_empty();
    let scanner = Scanner::new(options.renderer.map(Renderer::tokenizer));
    let mut merger = Merger::new(options, names, training_files);
    run(files, 0, options, &scanner, &mut merger)?;
    merger.end_training();
    if has_evaluation && merger.may_go_on() {
        run(evaluation, training_files, options, &scanner, &mut merger)?;
    }
    Ok(merger.finish())
}

fn run(
    files: Vec<Input<'_>>,
    first_file: usize,
    options: &Options<'_>,
    scanner: &Scanner,
    merger: &mut Merger<'_>,
) -> Result<(), Error> {
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, |count| count.get()),
        threads => threads,
    };
    let block_bytes = (BYTES_ON_THE_WAY / 2 / threads).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES);
    let cutter = Cutter::new(files, first_file, options.limits, block_bytes);
    let room = Room::default();
    let (to_workers, blocks) = sync_channel::<Block>(threads);
    let (to_merger, outcomes) = sync_channel::<Outcome>(threads);
    // Who sends learns that nobody receives any more: the workers alone have the one end, the merger has the other.
    let blocks = Arc::new(Mutex::new(blocks));
    thread::scope(|scope| {
        let room = &room;
        let reader = scope.spawn(move || read(cutter, room, to_workers));
        for _ in 0..threads {
            let (to_merger, blocks) = (to_merger.clone(), blocks.clone());
            let mut worker = Worker::new(options, scanner.clone());
            scope.spawn(move || {
                let _guard = CloseOnPanic(room);
                while let Some(block) = receive(&blocks) {
                    if to_merger.send(worker.process(block)).is_err() {
                        break;
                    }
                }
            });
        }
        drop((to_merger, blocks));
        merge_all(outcomes, options, scanner, room, merger);
        match reader.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn read(mut cutter: Cutter<'_>, room: &Room, to_workers: SyncSender<Block>) -> Result<(), Error> {
    let _guard = CloseOnPanic(room);
    while let Some(block) = cutter.next()? {
        if !room.take(block.bytes.len()) || to_workers.send(block).is_err() {
            break;
        }
    }
    Ok(())
}

fn receive(blocks: &Mutex<Receiver<Block>>) -> Option<Block> {
    blocks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Hands the outcomes to the merger in the order of blocks.
fn merge_all(
    outcomes: Receiver<Outcome>,
    options: &Options<'_>,
    scanner: &Scanner,
    room: &Room,
    merger: &mut Merger<'_>,
) {
    let _guard = CloseOnPanic(room);
    let mut worker = Worker::new(options, scanner.clone());
    let mut waiting: BTreeMap<u64, Outcome> = BTreeMap::new();
    let mut next = 0;
    let mut goes_on = true;
    for outcome in outcomes {
        waiting.insert(outcome.block.number, outcome);
        while let Some(outcome) = waiting.remove(&next) {
            next += 1;
            let bytes = outcome.block.bytes.len();
            if goes_on {
                goes_on = merger.take(outcome, &mut worker);
            }
            room.give(bytes);
            if !goes_on {
                room.close();
            }
        }
    }
}

/// How many bytes are on the way from the reader to the merger.
#[derive(Default)]
struct Room {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, (usize, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a block; false when no more are wanted. An empty way has room for any.
    fn take(&self, bytes: usize) -> bool {
        let bytes = bytes.max(1);
        let mut state = self.lock();
        while !state.1 && state.0 > 0 && state.0 + bytes > BYTES_ON_THE_WAY {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0 += bytes;
        !state.1
    }

    fn give(&self, bytes: usize) {
        self.lock().0 -= bytes.max(1);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().1 = true;
        self.changed.notify_all();
    }
}

/// Lets the others end when a thread panics, so that the panic is not waited for.
struct CloseOnPanic<'a>(&'a Room);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close();
        }
    }
}

#[cfg(test)]
mod tests;

//! Tiled backward: scores are computed again from `lse`, one tile of keys after the other.
//!
//! A task is a run of queries of one segment and the heads of one key head. It writes `dq` of its queries, and
//! sums its share of `dk` and `dv`. A segment in one run that shares no rows writes them at once; the shares of several
//! runs are then added in the order of the queries, segment after segment for rows that they share. How a segment is
//! cut depends on the segments and the shape alone.

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::attention::forward::check;
use crate::attention::gradient::{Call, Share, query_tile};
use crate::attention::joined::Joined;
use crate::attention::keys::{Head, Keys, Pass, prepare};
use crate::attention::layout::{QueryTile, head_parts, window};
use crate::attention::scratch::Shared;
use crate::attention::words::store_row;
use crate::backend::{AttentionShape, Segment};
use crate::context::Context;
use crate::gemm::Mode;
use crate::numbers::NumbersMut;
use crate::simd::per_isa;

pub use crate::attention::gradient::Inputs;

/// Segments are cut into runs until there are about this many tasks.
const WANTED_TASKS: usize = 16;
/// But into no more runs than this: each of several needs memory for its share of `dk` and `dv`.
const MAX_RUNS: usize = 8;
/// Rows of a task of the sum over runs.
const SUM_ROWS: usize = 64;

/// The gradients that the backward writes.
#[derive(Debug)]
pub struct Grads<'a> {
    /// `[T, n_heads * head_dim]`.
    pub dq: NumbersMut<'a>,
    /// `[T, n_kv_heads * head_dim]`.
    pub dk: NumbersMut<'a>,
    /// `[T, n_kv_heads * head_dim]`.
    pub dv: NumbersMut<'a>,
}

thread_local! {
    /// Keys and values of the call that this thread makes.
    static CALL: RefCell<Aligned<u32>> = RefCell::default();
    /// The share of the task that this thread runs.
    static OWN_SHARE: RefCell<Aligned<f32>> = RefCell::default();
}

/// A run of queries of one segment.
struct Run {
    /// Which segment.
    index: usize,
    segment: Segment,
    /// Counted from the segment's first own row.
    queries: Range<usize>,
    /// Whether no other run has a part in the keys of this one.
    is_alone: bool,
}

impl Run {
    /// The queries' places among the keys.
    fn places(&self) -> Range<usize> {
        let shared = self.segment.shared.len();
        shared + self.queries.start..shared + self.queries.end
    }

    /// Keys that the run sees, counted from the segment's first row, shared or own.
    fn keys(&self, window: usize) -> Range<usize> {
        let places = self.places();
        (places.start + 1).saturating_sub(window)..places.end
    }

    /// Numbers of the shares of one head: `dk`, then `dv`.
    fn share_len(&self, shape: AttentionShape) -> usize {
        2 * self.keys(window(shape.window)).len() * shape.head_dim
    }
}

/// What all tasks share.
struct All<'a> {
    mode: Mode,
    shape: AttentionShape,
    input: Inputs<'a>,
    dq: Shared<'a>,
    dk: Shared<'a>,
    dv: Shared<'a>,
}

/// One run and one key head.
struct Task<'a> {
    run: &'a Run,
    kv_head: usize,
    keys: Head<'a>,
    /// Where the share goes, if the run is one of several.
    share: Option<&'a mut [f32]>,
}

impl Task<'_> {
    fn run(self, all: &All<'_>) {
        let Task { run, kv_head, keys, share } = self;
        keys.with(|keys| match share {
            Some(share) => all.sum(run, kv_head, keys, share),
            None => OWN_SHARE.with_borrow_mut(|share| {
                let share = share.take(run.share_len(all.shape));
                all.sum(run, kv_head, keys, share);
                let (dk, dv) = share.split_at(share.len() / 2);
                let (first, d) = (run.segment.own.start, all.shape.head_dim);
                // SAFETY: no other task writes these rows of this head.
                unsafe {
                    all.store(&all.dk, first, kv_head, all.shape.scale, &dk[..run.segment.own.len() * d]);
                    all.store(&all.dv, first, kv_head, 1.0, &dv[..run.segment.own.len() * d]);
                }
            }),
        });
    }
}

impl All<'_> {
    /// All tiles of a run: writes `dq`, and the share.
    fn sum(&self, run: &Run, kv_head: usize, keys: Keys<'_>, share: &mut [f32]) {
        let (dk, dv) = share.split_at_mut(share.len() / 2);
        let start = run.keys(window(self.shape.window)).start;
        let mut share = Share { start, end: start, dk, dv };
        let group = self.shape.n_heads / self.shape.n_kv_heads;
        let (step, part) = query_tile(self.shape);
        let tile = |query: usize| {
            head_parts(group, part).map(move |(first, heads)| QueryTile {
                row: run.segment.own.start + query,
                n: step.min(run.queries.end - query),
                place: run.segment.shared.len() + query,
                head: kv_head * group + first,
                heads,
            })
        };
        let tiles: Vec<_> = run.queries.clone().step_by(step).flat_map(tile).collect();
        for (i, tile) in tiles.iter().enumerate() {
            let Self { mode, shape, ref input, .. } = *self;
            let call = Call { mode, shape, input, tile, first: i == 0, next: tiles.get(i + 1) };
            // SAFETY: tasks are of disjoint queries and heads.
            unsafe { call.run(keys, &mut share, &self.dq) };
        }
    }

    /// Writes rows of one key head from row `first` of `out`.
    ///
    /// # Safety
    /// No other task writes these rows of this head.
    unsafe fn store(&self, out: &Shared<'_>, first: usize, kv_head: usize, factor: f32, rows: &[f32]) {
        let AttentionShape { n_kv_heads, head_dim: d, .. } = self.shape;
        for (row, x) in (first..).zip(rows.chunks_exact(d)) {
            // SAFETY: same contract.
            let out = unsafe { out.piece((row * n_kv_heads + kv_head) * d, d) };
            store_row(self.mode.isa, x, factor, out);
        }
    }

    /// Adds the shares of runs, each with all its heads, in order, for some of their common keys, which stand in the
    /// rows from `first_row` on.
    fn store_sums(&self, runs: &[(&Run, &[f32])], rows: Range<usize>, first_row: usize) {
        let (window, d) = (window(self.shape.window), self.shape.head_dim);
        let mut sums = vec![0.0f32; rows.len() * d];
        for part in 0..2 * self.shape.n_kv_heads {
            let mut known = false;
            for (run, share) in runs {
                let keys = run.keys(window);
                let (first, end) = (rows.start.max(keys.start), rows.end.min(keys.end));
                if first < end {
                    let share = &share[(part * keys.len() + first - keys.start) * d..][..(end - first) * d];
                    if !known && share.len() == sums.len() {
                        sums.copy_from_slice(share);
                    } else {
                        if !known {
                            sums.fill(0.0);
                        }
                        add(self.mode.isa, share, &mut sums[(first - rows.start) * d..]);
                    }
                    known = true;
                }
            }
            let (out, factor) = if part % 2 == 0 { (&self.dk, self.shape.scale) } else { (&self.dv, 1.0) };
            // SAFETY: each task has other rows.
            unsafe { self.store(out, first_row, part / 2, factor, &sums) };
        }
    }
}

/// Pairs of queries and keys of a range of queries.
fn cost(queries: Range<usize>, window: usize) -> usize {
    let sum = |n: usize| {
        let ramp = n.min(window);
        ramp * (ramp + 1) / 2 + (n - ramp) * window.min(n)
    };
    sum(queries.end) - sum(queries.start)
}

/// Cuts segments into runs of about as many queries; whole tiles each. The later ones are longer work, so that the
/// threads end with short ones, and need more memory.
fn runs(segments: &[Segment], shape: AttentionShape) -> Vec<Run> {
    let window = window(shape.window);
    let total: usize =
        segments.iter().map(|s| cost(s.shared.len()..s.len(), window)).sum::<usize>() * shape.n_kv_heads;
    let step = query_tile(shape).0;
    let mut runs = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let n = segment.own.len();
        let count = (cost(segment.shared.len()..segment.len(), window) * WANTED_TASKS)
            .div_ceil(total.max(1))
            .min(MAX_RUNS);
        let mut start = 0;
        for i in 1..=count {
            let end = n.min((n * i).div_ceil(count).next_multiple_of(step));
            if end > start {
                let is_alone = end - start == n && !is_shared(segments, segment);
                runs.push(Run { index, segment: segment.clone(), queries: start..end, is_alone });
            }
            start = end;
        }
    }
    runs
}

/// Whether a segment shares rows, its own or others.
fn is_shared(segments: &[Segment], segment: &Segment) -> bool {
    !segment.shared.is_empty() || segments.iter().any(|other| begins_with(other, segment))
}

/// Whether the shared rows of `segment` are the own ones of `first`.
fn begins_with(segment: &Segment, first: &Segment) -> bool {
    !segment.shared.is_empty() && segment.shared == first.own
}

/// Contract: `Backend::attention_backward`.
pub fn backward(
    ctx: &Context,
    input: Inputs<'_>,
    segments: &[Segment],
    shape: AttentionShape,
    grads: Grads<'_>,
) {
    check(shape);
    let heads = shape.n_kv_heads;
    let runs = runs(segments, shape);
    let joined = Joined::new(ctx, input.k, input.v, segments, heads * shape.head_dim);
    let sources = joined.sources(segments);
    let (dq, dk, dv) = (Shared::new(grads.dq), Shared::new(grads.dk), Shared::new(grads.dv));
    let all = All { mode: ctx.mode, shape, input, dq, dk, dv };
    CALL.with_borrow_mut(|memory| {
        let keys = prepare(ctx, Pass::Backward, &sources, shape, memory);
        let several = || runs.iter().filter(|run| !run.is_alone);
        let mut shares = ctx.floats(several().map(|run| heads * run.share_len(shape)).sum());
        let mut rest = &mut *shares;
        let mut tasks = Vec::new();
        for run in &runs {
            for kv_head in 0..heads {
                let mut share = None;
                if !run.is_alone {
                    let own;
                    (own, rest) = rest.split_at_mut(run.share_len(shape));
                    share = Some(own);
                }
                tasks.push(Task { run, kv_head, keys: keys[run.index * heads + kv_head], share });
            }
        }
        // Long ones first, so that the threads end together. The order changes no result.
        tasks.sort_by_key(|task| std::cmp::Reverse(cost(task.run.places(), window(shape.window))));
        ctx.pool.for_each(tasks, |task| task.run(&all));

        let mut rest = &*shares;
        let share_of = |run| {
            let own;
            (own, rest) = rest.split_at(heads * Run::share_len(run, shape));
            (run, own)
        };
        let shares: Vec<(&Run, &[f32])> = several().map(share_of).collect();
        // The runs that have a part in the own rows of each segment.
        let parts = |segment: &Segment| -> Vec<_> {
            let has_part = |run: &Run| run.segment.own == segment.own || begins_with(&run.segment, segment);
            shares.iter().filter(|(run, _)| has_part(run)).copied().collect()
        };
        let sums: Vec<_> = segments.iter().map(|segment| (segment, parts(segment))).collect();
        let tasks = sums.iter().filter(|(_, runs)| !runs.is_empty()).flat_map(|(segment, runs)| {
            let Segment { shared, own } = segment;
            (0..own.len()).step_by(SUM_ROWS).map(move |start| {
                let end = own.len().min(start + SUM_ROWS);
                (runs, shared.len() + start..shared.len() + end, own.start + start)
            })
        });
        ctx.pool.for_each(tasks, |(runs, rows, first_row)| all.store_sums(runs, rows, first_row));
    });
}

per_isa! {
    /// `sums += x`.
    fn add(x: &[f32], sums: &mut [f32]) = add_body;
}

#[inline(always)]
fn add_body(x: &[f32], sums: &mut [f32]) {
    for (s, &x) in sums.iter_mut().zip(x) {
        *s += x;
    }
}

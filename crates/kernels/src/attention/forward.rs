//! Tiled forward: packed segments, and prompts over caches.

use std::cell::RefCell;
use std::ops::Range;

use crate::attention::keys::{KEYS, KeyTile, Keys, Pass, Source, prepare};
use crate::attention::layout::{QueryTile, head_parts, tile_shape, window};
use crate::attention::scratch::{Aligned, Shared};
use crate::attention::softmax::{self, Lanes, Scaled};
use crate::attention::words::{self, Left, Rows, product, store_row};
use crate::backend::AttentionShape;
use crate::context::Context;
use crate::gemm::{Mode, PANEL};
use crate::numbers::{Numbers, NumbersMut};

/// Lanes of a task, so that what is made of its keys is used often.
pub const LANES: usize = 384;
/// What a running maximum starts from: below all scores, and finite, since differences of it are taken.
const LOWEST: f32 = -1e30;
/// How far scores may lie above the maximum in use before sums are rescaled: e^5 is no loss of range.
const SLACK: f32 = 5.0;

/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    rows: Aligned<u32>,
    q: Aligned<u32>,
    scores: Aligned<f32>,
    probabilities: Aligned<u32>,
    sums: Aligned<f32>,
    turned: Aligned<f32>,
    states: Vec<State>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// Keys and values of the call that this thread makes.
    static PREPARED: RefCell<Aligned<u32>> = RefCell::default();
}

/// Softmax of one panel so far.
#[derive(Clone, Copy)]
struct State {
    /// What is taken from the scaled scores; at most [`SLACK`] below their maximum.
    shift: Lanes,
    /// Sum of the exponentials.
    sum: Lanes,
    /// Whether there are outputs to add to.
    started: bool,
}

/// Queries and the keys and values that they attend to.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The whole query buffer.
    pub q: Numbers<'a>,
    /// Which of it.
    pub tile: QueryTile,
    /// Keys and values of their head.
    pub keys: Keys<'a>,
}

impl Task<'_> {
    /// Work, in lanes times keys.
    pub fn cost(&self, shape: AttentionShape) -> usize {
        self.tile.all_keys(window(shape.window)).len() * self.tile.n * self.tile.heads
    }

    /// Writes the rows of the queries of `out`, and of `lse` if given.
    ///
    /// # Safety
    /// No other task writes these rows and heads.
    pub unsafe fn run(&self, mode: Mode, shape: AttentionShape, out: &Shared<'_>, lse: Option<&Shared<'_>>) {
        SCRATCH.with_borrow_mut(|scratch| {
            self.attend(mode, shape, scratch);
            // SAFETY: same contract.
            unsafe { self.store(mode, shape, scratch, out, lse) };
        });
    }

    /// Unnormalised outputs `[panel][head_dim][PANEL]` in `scratch.sums`.
    fn attend(&self, mode: Mode, shape: AttentionShape, scratch: &mut Scratch) {
        let AttentionShape { n_heads, head_dim: d, .. } = shape;
        let (panels, stride) = (self.tile.panels(), mode.words().count(d));
        let q = scratch.q.take(panels * stride * PANEL);
        query_panels(mode, self.q, &self.tile, n_heads, d, &mut scratch.rows, q);
        scratch.states.clear();
        let start = State { shift: Lanes([LOWEST; PANEL]), sum: Lanes([0.0; PANEL]), started: false };
        scratch.states.resize(panels, start);
        let sums = scratch.sums.take(panels * d * PANEL);
        let scores = scratch.scores.take(KEYS * PANEL);
        let probabilities = scratch.probabilities.take(KEYS * PANEL);
        for keys in self.keys.tiles(self.tile.all_keys(window(shape.window))) {
            for (panel, state) in scratch.states.iter_mut().enumerate() {
                let q = &q[panel * stride * PANEL..][..stride * PANEL];
                let sums = &mut sums[panel * d * PANEL..][..d * PANEL];
                let part = Part { shape, tile: &self.tile, block: panel / self.tile.heads, keys: &keys };
                part.attend(mode, q, (scores, probabilities), state, sums);
            }
        }
    }

    unsafe fn store(
        &self,
        mode: Mode,
        shape: AttentionShape,
        scratch: &mut Scratch,
        out: &Shared<'_>,
        lse: Option<&Shared<'_>>,
    ) {
        let AttentionShape { n_heads, head_dim: d, .. } = shape;
        let turned = scratch.turned.take(PANEL * d);
        let sums = scratch.sums.take(self.tile.panels() * d * PANEL);
        for (panel, (state, sums)) in scratch.states.iter().zip(sums.chunks_exact(d * PANEL)).enumerate() {
            words::transpose(mode.isa, (sums, PANEL), (d, PANEL), (turned, d));
            let head = self.tile.head + panel % self.tile.heads;
            for (lane, query) in self.tile.queries(panel / self.tile.heads).enumerate() {
                let at = (self.tile.row + query) * n_heads + head;
                let (sum, turned) = (state.sum.0[lane], &turned[lane * d..][..d]);
                // SAFETY: the caller vouches that this task alone writes this row and head.
                let (out, lse) = unsafe { (out.piece(at * d, d), lse.map(|lse| lse.piece(at, 1))) };
                store_row(mode.isa, turned, 1.0 / sum, out);
                if let Some(lse) = lse {
                    store_row(mode.isa, &[state.shift.0[lane] + sum.ln()], 1.0, lse);
                }
            }
        }
    }
}

/// Words of the queries as panels `[panel][words of head_dim][PANEL]`.
pub fn query_panels(
    mode: Mode,
    x: Numbers<'_>,
    tile: &QueryTile,
    n_heads: usize,
    d: usize,
    rows: &mut Aligned<u32>,
    out: &mut [u32],
) {
    let stride = mode.words().count(d);
    let words = rows.take(PANEL * stride);
    for (panel, out) in out.chunks_exact_mut(stride * PANEL).enumerate() {
        let queries = tile.queries(panel / tile.heads);
        let head = tile.head + panel % tile.heads;
        let rows = Rows::of(x, tile.row + queries.start, queries.len(), head, n_heads, d);
        words::to_words(mode, rows, PANEL, words);
        words::transpose(mode.isa, (words, stride), (PANEL, stride), (out, PANEL));
    }
}

/// One panel of queries and one tile of keys.
struct Part<'a> {
    shape: AttentionShape,
    tile: &'a QueryTile,
    block: usize,
    keys: &'a KeyTile<'a>,
}

impl Part<'_> {
    /// `scores`, `probabilities` are scratch.
    fn attend(
        &self,
        mode: Mode,
        q: &[u32],
        (scores, probabilities): (&mut [f32], &mut [u32]),
        state: &mut State,
        sums: &mut [f32],
    ) {
        let (window, per_word) = (window(self.shape.window), mode.words().per_word());
        let KeyTile { keys, k, turned, padded, stride, .. } = self.keys;
        let Some(seen) = seen_rows(&self.tile.keys(self.block, window), keys) else { return };
        let scores = &mut scores[..seen.len() * PANEL];
        let k = Left { words: &k[seen.start * stride..], stride: *stride, rows: seen.len(), depth: *stride };
        product(mode, k, q, PANEL, false, scores, PANEL);
        let mut scale = self.shape.scale;
        if let Some(cap) = self.shape.softcap {
            softmax::cap_scores(mode.isa, scores, scale, cap);
            scale = 1.0;
        }
        let mask = self.tile.mask(self.block, keys.start + seen.start, window);
        let mut max = Lanes([f32::NEG_INFINITY; PANEL]);
        softmax::maxima(mode, scores, mask, &mut max);
        state.raise(mode, max, scale, sums);
        let scaled = Scaled { scale, shift: &state.shift };
        softmax::probabilities(mode, scores, mask, scaled, &mut state.sum, probabilities);
        let values = Left {
            words: &turned[seen.start / per_word..],
            stride: padded / per_word,
            rows: self.shape.head_dim,
            depth: seen.len() / per_word,
        };
        product(mode, values, probabilities, PANEL, state.started, sums, PANEL);
        state.started = true;
    }
}

impl State {
    /// Takes the maxima of unscaled scores in: where one lies too far above what is in use, rescales.
    fn raise(&mut self, mode: Mode, max: Lanes, scale: f32, sums: &mut [f32]) {
        let mut max = max;
        let mut far = false;
        for (max, shift) in max.0.iter_mut().zip(&self.shift.0) {
            *max *= scale;
            far |= *max > shift + SLACK;
        }
        if !far {
            return;
        }
        let mut factors = Lanes([1.0; PANEL]);
        for (lane, &max) in max.0.iter().enumerate() {
            let shift = &mut self.shift.0[lane];
            if max > *shift {
                factors.0[lane] = (*shift - max).exp();
                *shift = max;
            }
        }
        if self.started {
            softmax::scale_lanes(mode.isa, &mut self.sum.0, &factors);
            softmax::scale_lanes(mode.isa, sums, &factors);
        }
    }
}

/// The rows of a tile of keys that a block sees, from an even one on and an even number of them.
pub fn seen_rows(seen: &Range<usize>, tile: &Range<usize>) -> Option<Range<usize>> {
    let (first, end) = (seen.start.max(tile.start), seen.end.min(tile.end));
    (first < end).then(|| (first - tile.start) / 2 * 2..(end - tile.start).next_multiple_of(2))
}

/// Contract: `Backend::attention`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn forward(
    ctx: &Context,
    q: Numbers<'_>,
    k: Numbers<'_>,
    v: Numbers<'_>,
    segments: &[Range<usize>],
    shape: AttentionShape,
    out: NumbersMut<'_>,
    lse: &mut [f32],
) {
    check(shape);
    let source = |segment: &Range<usize>| Source { k, v, row: segment.start, n: segment.len() };
    let sources: Vec<_> = segments.iter().map(source).collect();
    let queries: Vec<_> = segments.iter().map(|segment| (segment.start, segment.len(), 0)).collect();
    let (out, lse) = (Shared::new(out), Shared::new(NumbersMut::F32(lse)));
    attend_all(ctx, q, &queries, &sources, shape, &out, Some(&lse));
}

/// Queries `(first row, rows, place of the first among the keys)` over one source each. Writes these rows.
pub fn attend_all(
    ctx: &Context,
    q: Numbers<'_>,
    queries: &[(usize, usize, usize)],
    sources: &[Source<'_>],
    shape: AttentionShape,
    out: &Shared<'_>,
    lse: Option<&Shared<'_>>,
) {
    let group = shape.n_heads / shape.n_kv_heads;
    let (step, part) = tile_shape(group, LANES);
    PREPARED.with_borrow_mut(|memory| {
        let keys = prepare(ctx, Pass::Forward, sources, shape, memory);
        let mut tasks = Vec::new();
        for (&(row, rows, place), keys) in queries.iter().zip(keys.chunks(shape.n_kv_heads)) {
            for first in (0..rows).step_by(step) {
                for (kv_head, &keys) in keys.iter().enumerate() {
                    tasks.extend(head_parts(group, part).map(|(head, heads)| {
                        let n = step.min(rows - first);
                        let head = kv_head * group + head;
                        Task {
                            q,
                            tile: QueryTile { row: row + first, n, place: place + first, head, heads },
                            keys,
                        }
                    }));
                }
            }
        }
        // Long ones first, so that the threads end together. The order changes no result.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.cost(shape)));
        // SAFETY: the tasks are of disjoint queries and heads.
        ctx.pool.for_each(tasks, |task| unsafe { task.run(ctx.mode, shape, out, lse) });
    });
}

/// What must hold of a shape.
pub fn check(shape: AttentionShape) {
    assert!(shape.n_heads.is_multiple_of(shape.n_kv_heads), "query heads are a multiple of key heads");
    assert!(shape.scale > 0.0, "the factor on the scores is positive");
    assert!(shape.window != Some(0), "a window holds at least the query's own key");
}

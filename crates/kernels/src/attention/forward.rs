//! Tiled forward: packed segments, and prompts over caches.

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::attention::joined::Joined;
use crate::attention::keys::{Head, KEYS, KeyTile, Keys, Pass, Source, prepare};
use crate::attention::layout::{QueryTile, head_parts, tile_shape, window};
use crate::attention::scratch::Shared;
use crate::attention::softmax::{self, Lanes, Running, Scaled};
use crate::attention::words::{self, Left, product, store_row};
use crate::backend::{AttentionShape, Segment};
use crate::context::Context;
use crate::gemm::{Mode, PANEL};
use crate::numbers::{Numbers, NumbersMut};

/// Lanes of a task, so that what is made of its keys is used often.
pub const LANES: usize = 384;
/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    rows: Aligned<u32>,
    q: Aligned<u32>,
    scores: Aligned<f32>,
    probabilities: Aligned<u32>,
    sums: Aligned<f32>,
    turned: Aligned<f32>,
    states: Vec<Running>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// Keys and values of the call that this thread makes.
    static PREPARED: RefCell<Aligned<u32>> = RefCell::default();
}

/// Tiles of queries that attend to one head of keys and values.
struct Task<'a> {
    /// The whole query buffer.
    q: Numbers<'a>,
    tiles: Vec<QueryTile>,
    keys: Head<'a>,
}

impl Task<'_> {
    /// Work, in lanes times keys.
    fn cost(&self, window: usize) -> usize {
        self.tiles.iter().map(|tile| tile.all_keys(window).len() * tile.n * tile.heads).sum()
    }

    /// Writes the rows of the queries of `out`, and of `lse` if given.
    ///
    /// # Safety
    /// No other task writes these rows and heads.
    unsafe fn run(&self, mode: Mode, shape: AttentionShape, out: &Shared<'_>, lse: Option<&Shared<'_>>) {
        self.keys.with(|keys| {
            SCRATCH.with_borrow_mut(|scratch| {
                for (i, tile) in self.tiles.iter().enumerate() {
                    let call = Call { mode, shape, q: self.q, tile, next: self.tiles.get(i + 1) };
                    if i == 0 {
                        call.fetch(tile, 0..tile.panels());
                    }
                    call.attend(keys, scratch, out);
                    // SAFETY: same contract.
                    unsafe { call.store(scratch, out, lse) };
                }
            });
        });
    }
}

/// One tile of queries.
struct Call<'a> {
    mode: Mode,
    shape: AttentionShape,
    q: Numbers<'a>,
    tile: &'a QueryTile,
    /// The tile that comes next.
    next: Option<&'a QueryTile>,
}

impl Call<'_> {
    /// Asks for the queries of panels of a tile.
    fn fetch(&self, tile: &QueryTile, panels: Range<usize>) {
        for panel in panels {
            tile.rows(panel, self.q, self.shape.n_heads, self.shape.head_dim).fetch();
        }
    }

    /// Unnormalised outputs `[panel][head_dim][PANEL]` in `scratch.sums`.
    /// `out` is what will be written.
    fn attend(&self, keys: Keys<'_>, scratch: &mut Scratch, out: &Shared<'_>) {
        let (mode, shape) = (self.mode, self.shape);
        let AttentionShape { n_heads, head_dim: d, .. } = shape;
        let (panels, stride) = (self.tile.panels(), mode.words().count(d));
        let q = scratch.q.take(panels * stride * PANEL);
        query_panels(mode, self.q, self.tile, n_heads, d, &mut scratch.rows, q);
        scratch.states.clear();
        scratch.states.resize(panels, Running::START);
        let sums = scratch.sums.take(panels * d * PANEL);
        let scores = scratch.scores.take(KEYS * PANEL);
        let probabilities = scratch.probabilities.take(KEYS * PANEL);
        let seen = self.tile.all_keys(window(shape.window));
        for keys in keys.tiles(seen.clone()) {
            for (panel, state) in scratch.states.iter_mut().enumerate() {
                if keys.keys.end >= seen.end {
                    let head = self.tile.head + panel % self.tile.heads;
                    for query in self.tile.queries(panel / self.tile.heads) {
                        out.fetch(((self.tile.row + query) * n_heads + head) * d, d);
                    }
                    if let Some(next) = self.next {
                        self.fetch(next, panel..next.panels().min(panel + 1));
                    }
                }
                let q = &q[panel * stride * PANEL..][..stride * PANEL];
                let sums = &mut sums[panel * d * PANEL..][..d * PANEL];
                let part = Part { shape, tile: self.tile, block: panel / self.tile.heads, keys: &keys };
                part.attend(mode, q, (scores, probabilities), state, sums);
            }
        }
    }

    /// # Safety
    /// No other task writes the tile's rows and heads.
    unsafe fn store(&self, scratch: &mut Scratch, out: &Shared<'_>, lse: Option<&Shared<'_>>) {
        let (mode, shape) = (self.mode, self.shape);
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
    for (panel, out) in out.chunks_exact_mut(stride * PANEL).enumerate() {
        let (words, step) = words::as_words(mode, tile.rows(panel, x, n_heads, d), PANEL, rows);
        words::transpose(mode.isa, (words, step), (PANEL, stride), (out, PANEL));
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
        state: &mut Running,
        sums: &mut [f32],
    ) {
        let (window, per_word) = (window(self.shape.window), mode.words().per_word());
        let KeyTile { keys, k, turned, padded, stride, .. } = self.keys;
        let Some(seen) = seen_rows(&self.tile.keys(self.block, window), keys) else { return };
        let k = Left { words: &k[seen.start * stride..], stride: *stride, rows: seen.len(), depth: *stride };
        let mask = self.tile.mask(self.block, keys.start + seen.start, window);
        let mut scale = self.shape.scale;
        if self.shape.softcap.is_some()
            || !softmax::score_probabilities(mode, k, q, mask, scale, state, probabilities)
        {
            let scores = &mut scores[..seen.len() * PANEL];
            product(mode, k, q, PANEL, false, scores, PANEL);
            if let Some(cap) = self.shape.softcap {
                softmax::cap_scores(mode.isa, scores, scale, cap);
                scale = 1.0;
            }
            let mut max = Lanes([f32::NEG_INFINITY; PANEL]);
            softmax::maxima(mode, scores, mask, &mut max);
            state.raise(mode, max, scale, sums);
            let scaled = Scaled { scale, shift: &state.shift };
            softmax::probabilities(mode, scores, mask, scaled, &mut state.sum, probabilities);
        }
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
    segments: &[Segment],
    shape: AttentionShape,
    out: NumbersMut<'_>,
    lse: &mut [f32],
) {
    check(shape);
    let joined = Joined::new(ctx, k, v, segments, shape.n_kv_heads * shape.head_dim);
    let queries = |Segment { shared, own }: &Segment| (own.start, own.len(), shared.len());
    let queries: Vec<_> = segments.iter().map(queries).collect();
    let (out, lse) = (Shared::new(out), Shared::new(NumbersMut::F32(lse)));
    attend_all(ctx, q, &queries, &joined.sources(segments), shape, &out, Some(&lse));
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
            for (kv_head, &keys) in keys.iter().enumerate() {
                let tile = |first: usize| {
                    head_parts(group, part).map(move |(head, heads)| QueryTile {
                        row: row + first,
                        n: step.min(rows - first),
                        place: place + first,
                        head: kv_head * group + head,
                        heads,
                    })
                };
                let tiles: Vec<_> = (0..rows).step_by(step).flat_map(tile).collect();
                // What is made by a task for itself is used by it alone.
                let count = if keys.is_own() { tiles.len().max(1) } else { 1 };
                tasks.extend(tiles.chunks(count).map(|tiles| Task { q, tiles: tiles.to_vec(), keys }));
            }
        }
        // Long ones first, so that the threads end together. The order changes no result.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.cost(window(shape.window))));
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

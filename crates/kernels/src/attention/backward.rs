//! Tiled backward: scores are computed again from `lse`, one tile of keys after the other.
//!
//! A task is a run of queries of one segment and the heads of one key head. It writes `dq` of its queries, and
//! its share of `dk` and `dv` to memory of its own. Shares are then added in the order of the queries. How a
//! segment is cut into runs depends on the segments and the shape alone.

use std::cell::RefCell;
use std::ops::Range;

use crate::attention::forward::{check, seen_rows};
use crate::attention::keys::{KEYS, KeyTile, Keys, Pass, Source, prepare};
use crate::attention::layout::{QueryTile, head_parts, tile_shape, window};
use crate::attention::scratch::{Aligned, Shared};
use crate::attention::softmax::{self, Gradients, Lanes, Scaled};
use crate::attention::words::{self, Left, Rows, product, store_row};
use crate::backend::AttentionShape;
use crate::context::Context;
use crate::gemm::{Mode, PANEL, Words};
use crate::numbers::{Number, Numbers, NumbersMut};
use crate::simd::{mul_add, per_isa};

/// Lanes of a tile of queries: what is kept per lane (12 bytes per number of a head) stays in L2.
const LANES: usize = 192;
/// Bytes that a tile of queries may keep.
const TILE_BYTES: usize = 384 * 1024;
/// Rows of keys that share one range of queries in the sums over queries.
const KEY_ROWS: usize = 32;
/// Segments are cut into runs until there are about this many tasks.
const WANTED_TASKS: usize = 16;
/// But into no more runs than this: each needs memory for its share of `dk` and `dv`.
const MAX_RUNS: usize = 8;
/// Rows of a task of the sum over runs.
const SUM_ROWS: usize = 64;

/// Inputs that all tasks share.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Gradient of the output.
    pub dout: Numbers<'a>,
    /// Queries.
    pub q: Numbers<'a>,
    /// Keys.
    pub k: Numbers<'a>,
    /// Values.
    pub v: Numbers<'a>,
    /// What the forward wrote.
    pub out: Numbers<'a>,
    /// What the forward wrote.
    pub lse: &'a [f32],
}

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

/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    rows: Aligned<u32>,
    q_panels: Aligned<u32>,
    dout_panels: Aligned<u32>,
    q_columns: Aligned<u32>,
    dout_columns: Aligned<u32>,
    scores: Aligned<f32>,
    dp: Aligned<f32>,
    p: Aligned<u32>,
    ds: Aligned<u32>,
    ds_panel: Aligned<u32>,
    dq: Aligned<f32>,
    turned: Aligned<f32>,
    lanes: Vec<Query>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// Keys and values of the call that this thread makes, and the shares of its runs.
    static CALL: RefCell<(Aligned<u32>, Aligned<f32>)> = RefCell::default();
}

/// What is known of the queries of one panel.
#[derive(Clone, Copy)]
struct Query {
    lse: Lanes,
    delta: Lanes,
    /// Whether there is a `dq` to add to.
    started: bool,
}

/// A run of queries of one segment.
struct Run {
    /// Which segment.
    index: usize,
    segment: Range<usize>,
    /// Counted from the segment's first row.
    queries: Range<usize>,
}

impl Run {
    /// Keys that the run sees, counted from the segment's first row.
    fn keys(&self, window: usize) -> Range<usize> {
        (self.queries.start + 1).saturating_sub(window)..self.queries.end
    }
}

/// One run and one key head.
struct Task<'a> {
    run: &'a Run,
    kv_head: usize,
    keys: Keys<'a>,
    /// `[keys, head_dim]`, not yet scaled.
    dk: &'a mut [f32],
    /// `[keys, head_dim]`.
    dv: &'a mut [f32],
}

/// Queries and heads of a tile.
fn query_tile(shape: AttentionShape) -> (usize, usize) {
    let lanes = (TILE_BYTES / (12 * shape.head_dim)).min(LANES);
    tile_shape(shape.n_heads / shape.n_kv_heads, lanes)
}

impl Task<'_> {
    fn cost(&self, window: usize) -> usize {
        cost(self.run.queries.clone(), window)
    }

    fn work(&mut self, mode: Mode, input: &Inputs<'_>, shape: AttentionShape, dq: &Shared<'_>) {
        self.dk.fill(0.0);
        self.dv.fill(0.0);
        let group = shape.n_heads / shape.n_kv_heads;
        let (step, heads) = query_tile(shape);
        SCRATCH.with_borrow_mut(|scratch| {
            for place in self.run.queries.clone().step_by(step) {
                for (first, heads) in head_parts(group, heads) {
                    let tile = QueryTile {
                        row: self.run.segment.start + place,
                        n: step.min(self.run.queries.end - place),
                        place,
                        head: self.kv_head * group + first,
                        heads,
                    };
                    self.tile(mode, input, shape, &tile, scratch);
                    store_dq(mode, shape, &tile, scratch, dq);
                }
            }
        });
    }

    /// Adds the tile's share to `dk` and `dv` and leaves its `dq`, unscaled, in the scratch.
    fn tile(
        &mut self,
        mode: Mode,
        input: &Inputs<'_>,
        shape: AttentionShape,
        tile: &QueryTile,
        scratch: &mut Scratch,
    ) {
        let d = shape.head_dim;
        let window = window(shape.window);
        let per_word = mode.words().per_word();
        let depth = tile.panels() * PANEL / per_word;
        query_side(mode, input, shape, tile, scratch);
        let (run_start, seen) = (self.run.keys(window).start, tile.all_keys(window));
        for key_tile in self.keys.tiles(seen.clone()) {
            for panel in 0..tile.panels() {
                score_panel(mode, shape, tile, panel, &key_tile, scratch);
            }
            let keys = key_tile.keys.start.max(seen.start)..key_tile.keys.end.min(seen.end);
            let skipped = keys.start - key_tile.keys.start;
            let share = (keys.start - run_start) * d..(keys.end - run_start) * d;
            let (p, ds) = (scratch.p.take(KEYS * depth), scratch.ds.take(KEYS * depth));
            let (q, dout) =
                (&*scratch.q_columns.take(depth * d.next_multiple_of(PANEL)), &mut scratch.dout_columns);
            let dout = &*dout.take(depth * d.next_multiple_of(PANEL));
            for rows in row_groups(tile, &keys, window) {
                let blocks = tile.blocks_that_see(keys.start + rows.start..keys.start + rows.end, window);
                let lanes =
                    blocks.start * tile.heads * PANEL / per_word..blocks.end * tile.heads * PANEL / per_word;
                for (left, columns, out) in [(&*p, dout, &mut *self.dv), (&*ds, q, &mut *self.dk)] {
                    let left = Left {
                        words: &left[(skipped + rows.start) * depth + lanes.start..],
                        stride: depth,
                        rows: rows.len(),
                        depth: lanes.len(),
                    };
                    let out = &mut out[share.clone()][rows.start * d..];
                    for (column, panel) in (0..d).step_by(PANEL).zip(columns.chunks_exact(depth * PANEL)) {
                        let panel = &panel[lanes.start * PANEL..];
                        product(mode, left, panel, PANEL.min(d - column), true, &mut out[column..], d);
                    }
                }
            }
        }
    }
}

/// Rows of a tile of keys in groups that are seen by the same blocks of queries.
fn row_groups(tile: &QueryTile, keys: &Range<usize>, window: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut last = 0..0;
    for start in (0..keys.len()).step_by(KEY_ROWS) {
        let rows = start..keys.len().min(start + KEY_ROWS);
        let blocks = tile.blocks_that_see(keys.start + rows.start..keys.start + rows.end, window);
        match groups.last_mut() {
            Some(group) if blocks == last => group.end = rows.end,
            _ => groups.push(rows),
        }
        last = blocks;
    }
    groups
}

/// What is made of the queries once and used for every tile of keys.
fn query_side(
    mode: Mode,
    input: &Inputs<'_>,
    shape: AttentionShape,
    tile: &QueryTile,
    scratch: &mut Scratch,
) {
    let AttentionShape { n_heads, head_dim: d, .. } = shape;
    let (panels, stride) = (tile.panels(), mode.words().count(d));
    let depth = panels * PANEL / mode.words().per_word();
    let zeros = Lanes([0.0; PANEL]);
    scratch.lanes.clear();
    scratch.lanes.resize(panels, Query { lse: zeros, delta: zeros, started: false });
    let words = scratch.rows.take(PANEL * stride);
    for (panel, lanes) in scratch.lanes.iter_mut().enumerate() {
        let (queries, head) = (tile.queries(panel / tile.heads), tile.head + panel % tile.heads);
        let rows = |x| Rows::of(x, tile.row + queries.start, queries.len(), head, n_heads, d);
        let at = panel * PANEL / mode.words().per_word();
        for (x, panels_of, columns) in [
            (input.q, &mut scratch.q_panels, &mut scratch.q_columns),
            (input.dout, &mut scratch.dout_panels, &mut scratch.dout_columns),
        ] {
            words::to_words(mode, rows(x), PANEL, words);
            let own = &mut panels_of.take(panels * stride * PANEL)[panel * stride * PANEL..];
            words::transpose(mode.isa, (words, stride), (PANEL, stride), (own, PANEL));
            let columns = columns.take(depth * d.next_multiple_of(PANEL));
            words::column_panels(mode, words, d, depth, at, columns);
        }
        dot_rows(mode, rows(input.dout), rows(input.out), &mut lanes.delta);
        for (lane, query) in queries.clone().enumerate() {
            lanes.lse.0[lane] = input.lse[(tile.row + query) * n_heads + head];
        }
    }
}

/// `out[i]` = row `i` of `a` times row `i` of `b`.
fn dot_rows(mode: Mode, a: Rows<'_>, b: Rows<'_>, out: &mut Lanes) {
    #[cfg(target_arch = "x86_64")]
    if let (Words::Bf16Pairs, Numbers::Bf16(_), Numbers::Bf16(_)) = (mode.words(), a.x, b.x) {
        for (i, out) in out.0.iter_mut().enumerate().take(a.n) {
            if let (Numbers::Bf16(a), Numbers::Bf16(b)) = (a.row(i), b.row(i)) {
                // SAFETY: the instruction set is available.
                *out = unsafe { super::avx512::dot(a, b) };
            }
        }
        return;
    }
    plain_dot_rows(mode.isa, a, b, out);
}

per_isa! {
    fn plain_dot_rows(a: Rows<'_>, b: Rows<'_>, out: &mut Lanes) = fma dot_rows_body;
}

#[inline(always)]
fn dot_rows_body<const FMA: bool>(a: Rows<'_>, b: Rows<'_>, out: &mut Lanes) {
    for (i, out) in out.0.iter_mut().enumerate().take(a.n) {
        *out = match (a.row(i), b.row(i)) {
            (Numbers::F32(a), Numbers::F32(b)) => dot_row::<FMA, f32>(a, b),
            (Numbers::Bf16(a), Numbers::Bf16(b)) => dot_row::<FMA, u16>(a, b),
            _ => panic!("the output and its gradient are of one form"),
        };
    }
}

/// Dot product in 16 interleaved sums and a fixed tree.
#[inline(always)]
fn dot_row<const FMA: bool, N: Number>(a: &[N], b: &[N]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = mul_add::<FMA>(a[i].get(), b[i].get(), sums[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[i] = mul_add::<FMA>(a.get(), b.get(), sums[i]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// One panel of queries against one tile of keys: `p`, `ds` for the sums over queries, and `dq`.
fn score_panel(
    mode: Mode,
    shape: AttentionShape,
    tile: &QueryTile,
    panel: usize,
    key_tile: &KeyTile<'_>,
    scratch: &mut Scratch,
) {
    let d = shape.head_dim;
    let (per_word, window) = (mode.words().per_word(), window(shape.window));
    let KeyTile { keys, k, v, turned, padded, stride } = key_tile;
    let (panels, stride, padded) = (tile.panels(), *stride, *padded);
    let depth = panels * PANEL / per_word;
    let (p, ds) = (scratch.p.take(KEYS * depth), scratch.ds.take(KEYS * depth));
    let first_word = panel * PANEL / per_word;
    let seen = seen_rows(&tile.keys(panel / tile.heads, window), keys).unwrap_or(0..0);
    // The sums over queries read whole groups of rows: what this panel does not see is zero there.
    for row in (0..seen.start).chain(seen.end..padded) {
        let own = row * depth + first_word..row * depth + first_word + PANEL / per_word;
        p[own.clone()].fill(0);
        ds[own].fill(0);
    }
    if seen.is_empty() {
        return;
    }
    let (scores, dp) = (scratch.scores.take(seen.len() * PANEL), scratch.dp.take(seen.len() * PANEL));
    let own = panel * stride * PANEL..(panel + 1) * stride * PANEL;
    for (left, right, out) in
        [(k, &mut scratch.q_panels, &mut *scores), (v, &mut scratch.dout_panels, &mut *dp)]
    {
        let left = Left { words: &left[seen.start * stride..], stride, rows: seen.len(), depth: stride };
        let right = &right.take(panels * stride * PANEL)[own.clone()];
        product(mode, left, right, PANEL, false, out, PANEL);
    }
    let Query { lse, mut delta, started } = scratch.lanes[panel];
    let mut scale = shape.scale;
    if let Some(cap) = shape.softcap {
        softmax::cap_scores(mode.isa, scores, scale, cap);
        softmax::cap_gradients(mode.isa, scores, dp, &delta, cap);
        (scale, delta) = (1.0, Lanes([0.0; PANEL]));
    }
    let ds_panel = scratch.ds_panel.take(KEYS * PANEL);
    let first = seen.start * depth + first_word;
    let out = Gradients { p: &mut p[first..], ds: &mut ds[first..], stride: depth, panel: &mut *ds_panel };
    let mask = tile.mask(panel / tile.heads, keys.start + seen.start, window);
    softmax::gradients(mode, scores, dp, mask, Scaled { scale, shift: &lse }, &delta, out);
    let turned = &turned[seen.start / per_word..];
    let left = Left { words: turned, stride: padded / per_word, rows: d, depth: seen.len() / per_word };
    let dq = &mut scratch.dq.take(panels * d * PANEL)[panel * d * PANEL..];
    product(mode, left, ds_panel, PANEL, started, dq, PANEL);
    scratch.lanes[panel].started = true;
}

/// Writes the `dq` of a tile.
fn store_dq(mode: Mode, shape: AttentionShape, tile: &QueryTile, scratch: &mut Scratch, dq: &Shared<'_>) {
    let AttentionShape { n_heads, head_dim: d, scale, .. } = shape;
    let turned = scratch.turned.take(PANEL * d);
    let sums = scratch.dq.take(tile.panels() * d * PANEL);
    for (panel, sums) in sums.chunks_exact(d * PANEL).enumerate() {
        words::transpose(mode.isa, (sums, PANEL), (d, PANEL), (turned, d));
        let head = tile.head + panel % tile.heads;
        for (query, turned) in tile.queries(panel / tile.heads).zip(turned.chunks_exact(d)) {
            // SAFETY: tasks are of disjoint queries and heads.
            let out = unsafe { dq.piece(((tile.row + query) * n_heads + head) * d, d) };
            store_row(mode.isa, turned, scale, out);
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

/// Cuts segments into runs of about equal work; whole tiles each.
fn runs(segments: &[Range<usize>], shape: AttentionShape) -> Vec<Run> {
    let window = window(shape.window);
    let total: usize = segments.iter().map(|s| cost(0..s.len(), window)).sum::<usize>() * shape.n_kv_heads;
    let step = query_tile(shape).0;
    let mut runs = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let n = segment.len();
        let own = cost(0..n, window);
        let count = (own * WANTED_TASKS).div_ceil(total.max(1)).min(MAX_RUNS);
        let mut start = 0;
        for i in 1..=count {
            let mut end = start;
            while end < n && cost(0..end, window) * count < own * i {
                end = n.min(end + step);
            }
            if end > start {
                runs.push(Run { index, segment: segment.clone(), queries: start..end });
            }
            start = end;
        }
    }
    runs
}

/// Contract: `Backend::attention_backward`.
pub fn backward(
    ctx: &Context,
    input: Inputs<'_>,
    segments: &[Range<usize>],
    shape: AttentionShape,
    grads: Grads<'_>,
) {
    check(shape);
    let (window, d) = (window(shape.window), shape.head_dim);
    let runs = runs(segments, shape);
    let share = |run: &Run| run.keys(window).len() * d;
    let source =
        |segment: &Range<usize>| Source { k: input.k, v: input.v, row: segment.start, n: segment.len() };
    let sources: Vec<_> = segments.iter().map(source).collect();
    CALL.with_borrow_mut(|(memory, shares)| {
        let keys = prepare(ctx, Pass::Backward, &sources, shape, memory);
        let shares = shares.take(runs.iter().map(|run| 2 * shape.n_kv_heads * share(run)).sum());
        let mut tasks = Vec::new();
        let mut rest = &mut *shares;
        for run in &runs {
            for kv_head in 0..shape.n_kv_heads {
                let (dk, dv);
                (dk, rest) = rest.split_at_mut(share(run));
                (dv, rest) = rest.split_at_mut(share(run));
                let keys = keys[run.index * shape.n_kv_heads + kv_head];
                tasks.push(Task { run, kv_head, keys, dk, dv });
            }
        }
        // Long ones first, so that the threads end together. The order changes no result.
        tasks.sort_by_key(|task| std::cmp::Reverse(task.cost(window)));
        let dq = Shared::new(grads.dq);
        ctx.pool.for_each(tasks, |mut task| task.work(ctx.mode, &input, shape, &dq));
        sum_shares(ctx, &runs, shape, shares, (grads.dk, grads.dv));
    });
}

/// Adds the shares of the runs in order; `dk` is scaled here.
fn sum_shares(
    ctx: &Context,
    runs: &[Run],
    shape: AttentionShape,
    shares: &[f32],
    (dk, dv): (NumbersMut<'_>, NumbersMut<'_>),
) {
    let AttentionShape { n_kv_heads, head_dim: d, scale, .. } = shape;
    let window = window(shape.window);
    let (dk, dv) = (Shared::new(dk), Shared::new(dv));
    // The runs of a segment, with where their shares begin.
    let mut at = 0;
    let mut segments: Vec<Vec<(&Run, usize)>> = Vec::new();
    for run in runs {
        if run.queries.start == 0 {
            segments.push(Vec::new());
        }
        segments.last_mut().expect("the first run of a segment starts at 0").push((run, at));
        at += 2 * n_kv_heads * run.keys(window).len() * d;
    }
    let tasks = segments.iter().flat_map(|runs| {
        let n = runs[0].0.segment.len();
        (0..n).step_by(SUM_ROWS).map(move |start| (runs, start..n.min(start + SUM_ROWS)))
    });
    ctx.pool.for_each(tasks, |(runs, rows)| {
        let mut sums = vec![0.0f32; rows.len() * d];
        for part in 0..2 * n_kv_heads {
            sums.fill(0.0);
            for &(run, at) in runs {
                let keys = run.keys(window);
                let (first, end) = (rows.start.max(keys.start), rows.end.min(keys.end));
                if first < end {
                    let at = at + (part * keys.len() + first - keys.start) * d;
                    let share = &shares[at..][..(end - first) * d];
                    add(ctx.mode.isa, share, &mut sums[(first - rows.start) * d..]);
                }
            }
            let (out, factor) = if part % 2 == 0 { (&dk, scale) } else { (&dv, 1.0) };
            for (row, sums) in rows.clone().zip(sums.chunks_exact(d)) {
                let place = ((runs[0].0.segment.start + row) * n_kv_heads + part / 2) * d;
                // SAFETY: each task has other rows.
                store_row(ctx.mode.isa, sums, factor, unsafe { out.piece(place, d) });
            }
        }
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

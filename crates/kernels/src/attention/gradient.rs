//! The gradients of one tile of queries.

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::attention::forward::seen_rows;
use crate::attention::keys::{KEYS, KeyTile, Keys};
use crate::attention::layout::{QueryTile, tile_shape, window};
use crate::attention::scratch::Shared;
use crate::attention::softmax::{self, Gradients, Lanes, Scaled};
use crate::attention::words::{self, Left, Rows, product, store_row};
use crate::backend::AttentionShape;
use crate::gemm::{Mode, PANEL, Words};
use crate::numbers::{Number, Numbers};
use crate::simd::{mul_add, per_isa};

/// Lanes of a tile of queries.
const LANES: usize = 256;
/// Bytes that a tile of queries keeps at most, 12 per lane and number of a head, so that they stay in L2.
const TILE_BYTES: usize = 800 * 1024;
/// Rows of keys that share one range of queries in the sums over queries.
const KEY_ROWS: usize = 32;

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

/// Sums over queries for a range of keys, both `[keys, head_dim]`; `dk` is not yet scaled.
pub struct Share<'a> {
    /// The first key.
    pub start: usize,
    /// Keys from here on have no sums yet: the first ones overwrite.
    pub end: usize,
    /// Gradient of the keys.
    pub dk: &'a mut [f32],
    /// Gradient of the values.
    pub dv: &'a mut [f32],
}

/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    rows: Aligned<u32>,
    q: Side,
    dout: Side,
    lanes: Vec<Query>,
    scores: Aligned<f32>,
    dp: Aligned<f32>,
    p: Aligned<u32>,
    ds: Aligned<u32>,
    ds_panel: Aligned<u32>,
    dq: Aligned<f32>,
    turned: Aligned<f32>,
}

/// What the products read of the queries, or of the gradients of their outputs.
#[derive(Default)]
struct Side {
    /// `[panel][words of head_dim][PANEL]`: lanes are queries.
    panels: Aligned<u32>,
    /// `[panel of head_dim][lanes / per word][PANEL]`: lanes are columns.
    columns: Aligned<u32>,
}

/// What is known of the queries of one panel.
#[derive(Clone, Copy)]
struct Query {
    lse: Lanes,
    delta: Lanes,
    /// Whether there is a `dq` to add to.
    started: bool,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Queries and heads of a tile.
pub fn query_tile(shape: AttentionShape) -> (usize, usize) {
    let lanes = (TILE_BYTES / (12 * shape.head_dim)).min(LANES);
    tile_shape(shape.n_heads / shape.n_kv_heads, lanes)
}

/// One tile of queries.
pub struct Call<'a> {
    /// Instruction set and rounding.
    pub mode: Mode,
    /// Shape of the whole call.
    pub shape: AttentionShape,
    /// Inputs of the whole call.
    pub input: &'a Inputs<'a>,
    /// The tile.
    pub tile: &'a QueryTile,
    /// Whether it is the first tile of a task, which nobody has asked for.
    pub first: bool,
    /// The tile that comes next.
    pub next: Option<&'a QueryTile>,
}

impl Call<'_> {
    /// Writes the tile's rows of `dq` and adds its part to the share.
    ///
    /// # Safety
    /// No other task writes these rows and heads of `dq`.
    pub unsafe fn run(&self, keys: Keys<'_>, share: &mut Share<'_>, dq: &Shared<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            if self.first {
                for (part, panel) in (0..3).flat_map(|part| (0..self.tile.panels()).map(move |p| (part, p))) {
                    self.fetch_input(self.tile, panel, part);
                }
            }
            self.query_side(scratch);
            let seen = self.tile.all_keys(window(self.shape.window));
            let count = (seen.end - 1) / KEYS + 1 - seen.start / KEYS;
            for (i, key_tile) in keys.tiles(seen.clone()).enumerate() {
                for panel in 0..self.tile.panels() {
                    self.fetch_ahead(panel, i, count, dq);
                    self.score_panel(panel, &key_tile, scratch);
                }
                self.add_to_share(&key_tile, &seen, scratch, share);
            }
            share.end = share.end.max(seen.end);
            // SAFETY: same contract.
            unsafe { self.store_dq(scratch, dq) };
        });
    }

    /// Asks for one of the inputs of a panel of a tile.
    fn fetch_input(&self, tile: &QueryTile, panel: usize, input: usize) {
        let x = [self.input.q, self.input.dout, self.input.out][input];
        tile.rows(panel, x, self.shape.n_heads, self.shape.head_dim).fetch();
    }

    /// Asks for what the next tile reads first and this one writes last, while there is work to do: a part with each
    /// of the last tiles of keys, since many requests at once wait for one another. Tile `i` of `count`.
    fn fetch_ahead(&self, panel: usize, i: usize, count: usize, dq: &Shared<'_>) {
        const PARTS: usize = 4;
        let spread = count.min(PARTS);
        let Some(i) = (i + spread).checked_sub(count) else { return };
        for part in i * PARTS / spread..(i + 1) * PARTS / spread {
            match self.next {
                Some(next) if part < 3 && panel < next.panels() => self.fetch_input(next, panel, part),
                _ if part == 3 => self.fetch_output(panel, dq),
                _ => {}
            }
        }
    }

    /// Asks for the rows of `dq` that a panel will write.
    fn fetch_output(&self, panel: usize, dq: &Shared<'_>) {
        let AttentionShape { n_heads, head_dim: d, .. } = self.shape;
        let head = self.tile.head + panel % self.tile.heads;
        for query in self.tile.queries(panel / self.tile.heads) {
            dq.fetch(((self.tile.row + query) * n_heads + head) * d, d);
        }
    }

    /// Words of all lanes along the sums over queries.
    fn depth(&self) -> usize {
        self.tile.panels() * PANEL / self.mode.words().per_word()
    }

    /// What is made of the queries once and used for every tile of keys.
    fn query_side(&self, scratch: &mut Scratch) {
        let Call { mode, tile, input, .. } = *self;
        let AttentionShape { n_heads, head_dim: d, .. } = self.shape;
        let (panels, stride, depth) = (tile.panels(), mode.words().count(d), self.depth());
        let zeros = Lanes([0.0; PANEL]);
        scratch.lanes.clear();
        scratch.lanes.resize(panels, Query { lse: zeros, delta: zeros, started: false });
        for (panel, lanes) in scratch.lanes.iter_mut().enumerate() {
            let at = panel * PANEL / mode.words().per_word();
            for (x, side) in [(input.q, &mut scratch.q), (input.dout, &mut scratch.dout)] {
                let words = words::as_words(mode, tile.rows(panel, x, n_heads, d), PANEL, &mut scratch.rows);
                let own = &mut side.panels.take(panels * stride * PANEL)[panel * stride * PANEL..];
                words::transpose(mode.isa, words, (PANEL, stride), (own, PANEL));
                let columns = side.columns.take(depth * d.next_multiple_of(PANEL));
                words::column_panels(mode, words, d, depth, at, columns);
            }
            let (dout, out) =
                (tile.rows(panel, input.dout, n_heads, d), tile.rows(panel, input.out, n_heads, d));
            dot_rows(mode, dout, out, &mut lanes.delta);
            let head = tile.head + panel % tile.heads;
            for (lse, query) in lanes.lse.0.iter_mut().zip(tile.queries(panel / tile.heads)) {
                *lse = input.lse[(tile.row + query) * n_heads + head];
            }
        }
    }

    /// One panel of queries against one tile of keys: `p`, `ds` for the sums over queries, and `dq`.
    fn score_panel(&self, panel: usize, key_tile: &KeyTile<'_>, scratch: &mut Scratch) {
        let Call { mode, tile, shape, .. } = *self;
        let KeyTile { keys, k, v, turned, padded, stride } = key_tile;
        let (d, stride, padded, depth) = (shape.head_dim, *stride, *padded, self.depth());
        let (per_word, window) = (mode.words().per_word(), window(shape.window));
        let (p, ds) = (scratch.p.take(KEYS * depth), scratch.ds.take(KEYS * depth));
        let first_word = panel * PANEL / per_word;
        let Some(seen) = seen_rows(&tile.keys(panel / tile.heads, window), keys) else { return };
        // The sums over queries read whole groups of rows: what this panel does not see is zero there.
        let (start, end) =
            (seen.start / KEY_ROWS * KEY_ROWS, padded.min(seen.end.next_multiple_of(KEY_ROWS)));
        for row in (start..seen.start).chain(seen.end..end) {
            let own = row * depth + first_word..row * depth + first_word + PANEL / per_word;
            p[own.clone()].fill(0);
            ds[own].fill(0);
        }
        let own = panel * stride * PANEL..(panel + 1) * stride * PANEL;
        let sides = [&mut scratch.q, &mut scratch.dout]
            .map(|side| &side.panels.take(tile.panels() * stride * PANEL)[own.clone()]);
        let rows = seen.len();
        let kv = [*k, *v].map(|x| Left { words: &x[seen.start * stride..], stride, rows, depth: stride });
        let Query { lse, mut delta, started } = scratch.lanes[panel];
        let ds_panel = scratch.ds_panel.take(KEYS * PANEL);
        let first = seen.start * depth + first_word;
        let mut out =
            Gradients { p: &mut p[first..], ds: &mut ds[first..], stride: depth, panel: &mut *ds_panel };
        let mask = tile.mask(panel / tile.heads, keys.start + seen.start, window);
        let mut scaled = Scaled { scale: shape.scale, shift: &lse };
        if shape.softcap.is_some()
            || !softmax::score_gradients(mode, kv, sides, mask, scaled, &delta, &mut out)
        {
            let (scores, dp) = (scratch.scores.take(seen.len() * PANEL), scratch.dp.take(seen.len() * PANEL));
            for ((left, side), out) in kv.into_iter().zip(sides).zip([&mut *scores, &mut *dp]) {
                product(mode, left, side, PANEL, false, out, PANEL);
            }
            if let Some(cap) = shape.softcap {
                softmax::cap_scores(mode.isa, scores, shape.scale, cap);
                softmax::cap_gradients(mode.isa, scores, dp, &delta, cap);
                (scaled.scale, delta) = (1.0, Lanes([0.0; PANEL]));
            }
            softmax::gradients(mode, scores, dp, mask, scaled, &delta, out);
        }
        let turned = &turned[seen.start / per_word..];
        let left = Left { words: turned, stride: padded / per_word, rows: d, depth: seen.len() / per_word };
        let dq = &mut scratch.dq.take(tile.panels() * d * PANEL)[panel * d * PANEL..];
        product(mode, left, ds_panel, PANEL, started, dq, PANEL);
        scratch.lanes[panel].started = true;
    }

    /// The sums over queries, for the keys of a tile that the queries see.
    fn add_to_share(
        &self,
        key_tile: &KeyTile<'_>,
        seen: &Range<usize>,
        scratch: &mut Scratch,
        share: &mut Share<'_>,
    ) {
        let Call { mode, tile, .. } = *self;
        let (d, depth) = (self.shape.head_dim, self.depth());
        let (per_word, window) = (mode.words().per_word(), window(self.shape.window));
        let keys = key_tile.keys.start.max(seen.start)..key_tile.keys.end.min(seen.end);
        let all = depth * d.next_multiple_of(PANEL);
        for (left, side, out) in [
            (&mut scratch.p, &mut scratch.dout, &mut *share.dv),
            (&mut scratch.ds, &mut scratch.q, &mut *share.dk),
        ] {
            let (left, columns) = (&*left.take(KEYS * depth), &*side.columns.take(all));
            let known = share.end.clamp(keys.start, keys.end);
            let first = key_tile.keys.start;
            let groups =
                [keys.start..known, known..keys.end].map(|keys| row_groups(tile, first, keys, window));
            for rows in groups.into_iter().flatten() {
                let blocks = tile.blocks_that_see(rows.clone(), window);
                let (lanes, add) = (tile.heads * PANEL / per_word, rows.start < share.end);
                let (first, end) = (blocks.start * lanes, blocks.end * lanes);
                let left = Left {
                    words: &left[(rows.start - key_tile.keys.start) * depth + first..],
                    stride: depth,
                    rows: rows.len(),
                    depth: end - first,
                };
                let out = &mut out[(rows.start - share.start) * d..(rows.end - share.start) * d];
                for (column, panel) in (0..d).step_by(PANEL).zip(columns.chunks_exact(depth * PANEL)) {
                    let n = PANEL.min(d - column);
                    product(mode, left, &panel[first * PANEL..], n, add, &mut out[column..], d);
                }
            }
        }
    }

    /// # Safety
    /// No other task writes the tile's rows and heads.
    unsafe fn store_dq(&self, scratch: &mut Scratch, dq: &Shared<'_>) {
        let AttentionShape { n_heads, head_dim: d, scale, .. } = self.shape;
        let tile = self.tile;
        let turned = scratch.turned.take(PANEL * d);
        let sums = scratch.dq.take(tile.panels() * d * PANEL);
        for (panel, sums) in sums.chunks_exact(d * PANEL).enumerate() {
            words::transpose(self.mode.isa, (sums, PANEL), (d, PANEL), (turned, d));
            let head = tile.head + panel % tile.heads;
            for (query, turned) in tile.queries(panel / tile.heads).zip(turned.chunks_exact(d)) {
                // SAFETY: the caller vouches that this task alone writes this row and head.
                let out = unsafe { dq.piece(((tile.row + query) * n_heads + head) * d, d) };
                store_row(self.mode.isa, turned, scale, out);
            }
        }
    }
}

/// Keys of a tile from key `first` on, in groups that are seen by the same blocks of queries. Groups end at multiples
/// of [`KEY_ROWS`] in the tile, or at the end of `keys`.
fn row_groups(tile: &QueryTile, first: usize, keys: Range<usize>, window: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut last = 0..0;
    let mut start = keys.start;
    while start < keys.end {
        let rows = start..keys.end.min(first + ((start - first) / KEY_ROWS + 1) * KEY_ROWS);
        let blocks = tile.blocks_that_see(rows.clone(), window);
        start = rows.end;
        match groups.last_mut() {
            Some(group) if blocks == last => group.end = rows.end,
            _ => groups.push(rows),
        }
        last = blocks;
    }
    groups
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

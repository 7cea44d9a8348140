//! Which queries a task holds in which lanes, and which keys a lane sees.
//!
//! Lanes come in panels of [`PANEL`]: neighbouring queries of one head. The panels of the heads that share keys
//! and values follow one another, then comes the next block of queries: panel = block * heads + head.

use std::ops::Range;

use crate::gemm::PANEL;

/// Consecutive queries of some heads that share one key head.
#[derive(Clone, Copy, Debug)]
pub struct QueryTile {
    /// Row of the first query.
    pub row: usize,
    /// Queries.
    pub n: usize,
    /// Place of the first query among the keys: it sees keys `..= place`.
    pub place: usize,
    /// First head.
    pub head: usize,
    /// Heads.
    pub heads: usize,
}

impl QueryTile {
    /// Blocks of queries.
    pub fn blocks(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Panels of lanes.
    pub fn panels(&self) -> usize {
        self.blocks() * self.heads
    }

    /// Queries of a block, counted from the first of the tile.
    pub fn queries(&self, block: usize) -> Range<usize> {
        block * PANEL..self.n.min((block + 1) * PANEL)
    }

    /// Keys that some query of the block sees.
    pub fn keys(&self, block: usize, window: usize) -> Range<usize> {
        let queries = self.queries(block);
        (self.place + queries.start + 1).saturating_sub(window)..self.place + queries.end
    }

    /// Keys that some query of the tile sees.
    pub fn all_keys(&self, window: usize) -> Range<usize> {
        (self.place + 1).saturating_sub(window)..self.place + self.n
    }

    /// What the lanes of a block see of keys from `key` on.
    pub fn mask(&self, block: usize, key: usize, window: usize) -> Mask {
        let query = self.place + block * PANEL;
        Mask { lag: key.cast_signed() - query.cast_signed(), window: window.cast_signed() }
    }

    /// Blocks of queries of which some query sees one of `keys`.
    pub fn blocks_that_see(&self, keys: Range<usize>, window: usize) -> Range<usize> {
        // Query q sees key j if j <= q and q - j < window.
        let first = keys.start.saturating_sub(self.place) / PANEL;
        let end = (keys.end - 1).saturating_add(window).saturating_sub(self.place);
        first..self.blocks().min(end.div_ceil(PANEL))
    }
}

/// Which lanes see the keys of a tile: lane `i` sees key `r` if `0 <= i - (lag + r) < window`.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    lag: isize,
    window: isize,
}

impl Mask {
    /// The lanes that see key `r`.
    #[inline(always)]
    pub fn lanes(self, r: usize) -> Range<usize> {
        let first = self.lag + r.cast_signed();
        let clamp = |x: isize| x.clamp(0, PANEL as isize).cast_unsigned();
        clamp(first)..clamp(first.saturating_add(self.window))
    }

    /// The same as bits.
    #[inline(always)]
    pub fn bits(self, r: usize) -> u32 {
        let lanes = self.lanes(r);
        (((1u64 << lanes.end) - 1) & !((1u64 << lanes.start) - 1)) as u32
    }

    /// Whether all lanes see all of `keys` keys.
    #[inline(always)]
    pub fn is_full(self, keys: usize) -> bool {
        self.lag + keys.cast_signed() <= 1 && self.lag.saturating_add(self.window) >= PANEL as isize
    }
}

/// Window of a shape as a number.
pub fn window(window: Option<usize>) -> usize {
    window.unwrap_or(isize::MAX.cast_unsigned() / 2)
}

/// Queries and heads of a tile of about `lanes` lanes, for heads in groups of `group`.
pub fn tile_shape(group: usize, lanes: usize) -> (usize, usize) {
    let heads = group.min((lanes / PANEL).max(1));
    (PANEL * (lanes / (PANEL * heads)).max(1), heads)
}

/// The heads of a group in parts of `heads`: `(first, count)`.
pub fn head_parts(group: usize, heads: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..group).step_by(heads).map(move |first| (first, heads.min(group - first)))
}

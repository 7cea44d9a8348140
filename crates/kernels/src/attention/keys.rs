//! Keys and values as the products read them, made once per call.

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::attention::words::{self, Rows};
use crate::backend::AttentionShape;
use crate::context::Context;
use crate::gemm::Mode;
use crate::numbers::Numbers;

/// Keys of a tile. Even, as pairs run along them.
pub const KEYS: usize = 96;

/// Keys and values of one segment or cache.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Keys.
    pub k: Numbers<'a>,
    /// Values.
    pub v: Numbers<'a>,
    /// Row of the first key and value.
    pub row: usize,
    /// Keys.
    pub n: usize,
}

/// What the two passes need.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Rows of keys, values turned.
    Forward,
    /// Rows of keys and values, keys turned.
    Backward,
}

/// Sizes of what is made.
#[derive(Clone, Copy)]
pub struct Layout {
    mode: Mode,
    pass: Pass,
    width: usize,
}

impl Layout {
    /// Words of a row.
    fn stride(self) -> usize {
        self.mode.words().count(self.width)
    }

    /// Words of a tile of `padded` keys: rows of keys, rows of values, turned ones.
    fn parts(self, padded: usize) -> [usize; 3] {
        let rows = padded * self.stride();
        let turned = padded / self.mode.words().per_word() * self.width;
        [rows, if self.pass == Pass::Backward { rows } else { 0 }, turned]
    }

    /// Words of a whole tile.
    fn tile_words(self) -> usize {
        self.parts(KEYS).iter().sum()
    }

    /// Words of all tiles of `n` keys.
    fn words(self, n: usize) -> usize {
        let tile = |n: usize| self.parts(n.next_multiple_of(2)).iter().sum::<usize>();
        (n / KEYS * self.tile_words() + tile(n % KEYS)).next_multiple_of(16)
    }
}

/// Keys and values of one head of one source.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    layout: Layout,
    n: usize,
    words: &'a [u32],
}

/// One tile of them.
#[derive(Clone)]
pub struct KeyTile<'a> {
    /// Which keys.
    pub keys: Range<usize>,
    /// Rows of keys `[padded][stride]`.
    pub k: &'a [u32],
    /// Rows of values, for the backward.
    pub v: &'a [u32],
    /// Turned values (forward) or keys (backward) `[width][padded / per word]`.
    pub turned: &'a [u32],
    /// Number of keys, made even; what was added is 0.
    pub padded: usize,
    /// Words of a row.
    pub stride: usize,
}

impl<'a> Keys<'a> {
    /// The tiles that hold some of `keys`.
    pub fn tiles(self, keys: Range<usize>) -> impl Iterator<Item = KeyTile<'a>> {
        (keys.start / KEYS..keys.end.div_ceil(KEYS)).map(move |tile| {
            let keys = tile * KEYS..self.n.min((tile + 1) * KEYS);
            let padded = keys.len().next_multiple_of(2);
            let full = self.layout.tile_words();
            let [k, v, turned] = self.layout.parts(padded);
            let words = &self.words[tile * full..][..k + v + turned];
            let (k, words) = words.split_at(k);
            let (v, turned) = words.split_at(v);
            KeyTile { keys, k, v, turned, padded, stride: self.layout.stride() }
        })
    }
}

/// Sources of at most this many keys are prepared by the task that uses them, while they are in its cache.
const OWN_KEYS: usize = 512;

/// Keys and values of one head: made before, or by the task that uses them.
#[derive(Clone, Copy)]
pub enum Head<'a> {
    /// Made before.
    Ready(Keys<'a>),
    /// Still to be made.
    Source(Layout, Source<'a>, Heads),
}

/// Which head of how many.
#[derive(Clone, Copy)]
pub struct Heads {
    head: usize,
    heads: usize,
}

impl Head<'_> {
    /// Whether one task is to use all of it.
    pub fn is_own(&self) -> bool {
        matches!(self, Head::Source(..))
    }

    /// Calls `body` with the keys.
    pub fn with<R>(self, body: impl FnOnce(Keys<'_>) -> R) -> R {
        match self {
            Head::Ready(keys) => body(keys),
            Head::Source(layout, source, heads) => OWN.with_borrow_mut(|memory| {
                for x in [source.k, source.v] {
                    Rows::of(x, source.row, source.n, heads.head, heads.heads, layout.width).fetch();
                }
                let words = memory.take(layout.words(source.n));
                for (first, own) in (0..source.n).step_by(KEYS).zip(words.chunks_mut(layout.tile_words())) {
                    fill_tile(layout, source, heads, first, own);
                }
                body(Keys { layout, n: source.n, words })
            }),
        }
    }
}

/// Makes what `pass` needs of all heads of the long sources; the short ones are left to their tasks. Returns
/// `[source * n_kv_heads + head]`.
pub fn prepare<'a>(
    ctx: &Context,
    pass: Pass,
    sources: &[Source<'a>],
    shape: AttentionShape,
    memory: &'a mut Aligned<u32>,
) -> Vec<Head<'a>> {
    let heads = shape.n_kv_heads;
    let layout = Layout { mode: ctx.mode, pass, width: shape.head_dim };
    let shared = |source: &Source<'_>| source.n > OWN_KEYS;
    let long = sources.iter().filter(|source| shared(source));
    let memory = memory.take(long.clone().map(|source| layout.words(source.n) * heads).sum());
    let mut tasks = Vec::new();
    let mut rest = &mut *memory;
    for source in long {
        for head in 0..heads {
            let own;
            (own, rest) = rest.split_at_mut(layout.words(source.n));
            let tiles = own.chunks_mut(layout.tile_words()).zip((0..source.n).step_by(KEYS));
            tasks.extend(tiles.map(|(own, first)| (source, Heads { head, heads }, first, own)));
        }
    }
    ctx.pool.for_each(tasks, |(source, heads, first, own)| fill_tile(layout, *source, heads, first, own));
    let mut rest = &*memory;
    let mut all = Vec::new();
    for source in sources {
        for head in 0..heads {
            if !shared(source) {
                all.push(Head::Source(layout, *source, Heads { head, heads }));
                continue;
            }
            let words;
            (words, rest) = rest.split_at(layout.words(source.n));
            all.push(Head::Ready(Keys { layout, n: source.n, words }));
        }
    }
    all
}

/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    rows: Aligned<u32>,
    paired: Aligned<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// Keys and values that this thread's task made for itself.
    static OWN: RefCell<Aligned<u32>> = RefCell::default();
}

/// The tile of keys from `first`.
fn fill_tile(layout: Layout, source: Source<'_>, heads: Heads, first: usize, out: &mut [u32]) {
    let n = KEYS.min(source.n - first);
    let padded = n.next_multiple_of(2);
    let Heads { head, heads } = heads;
    let rows = |x| Rows::of(x, source.row + first, n, head, heads, layout.width);
    let (k_rows, v_rows) = (rows(source.k), rows(source.v));
    let [k, v, turned] = layout.parts(padded);
    let (k, rest) = out.split_at_mut(k);
    let (v, rest) = rest.split_at_mut(v);
    let turned = &mut rest[..turned];
    words::to_words(layout.mode, k_rows, padded, k);
    SCRATCH.with_borrow_mut(|scratch| {
        let paired = scratch.paired.take(padded * layout.stride());
        let rows = match layout.pass {
            Pass::Forward => words::as_words(layout.mode, v_rows, padded, &mut scratch.rows),
            Pass::Backward => {
                words::to_words(layout.mode, v_rows, padded, v);
                (&*k, layout.stride())
            }
        };
        words::turn_rows(layout.mode, rows, padded, layout.width, paired, turned);
    });
}

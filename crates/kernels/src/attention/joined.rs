//! Keys and values of sequences that share rows, each sequence's in one piece.

use std::ops::Range;

use crate::attention::keys::Source;
use crate::backend::Segment;
use crate::context::{Context, Scratch};
use crate::numbers::Numbers;

/// The keys and values of segments. Those with shared rows are copied, the others stay where they are.
pub struct Joined<'a> {
    k: Numbers<'a>,
    v: Numbers<'a>,
    copies: Option<[Scratch<'a, u32>; 2]>,
}

impl<'a> Joined<'a> {
    /// `k` and `v` have rows of `width`.
    pub fn new(ctx: &'a Context, k: Numbers<'a>, v: Numbers<'a>, segments: &[Segment], width: usize) -> Self {
        let rows: usize =
            segments.iter().filter(|segment| !segment.shared.is_empty()).map(Segment::len).sum();
        let copies = (rows > 0).then(|| [k, v].map(|x| copies(ctx, x, segments, rows, width)));
        Self { k, v, copies }
    }

    /// One per segment.
    pub fn sources<'b>(&'b self, segments: &[Segment]) -> Vec<Source<'b>> {
        let mut copied = 0;
        let source = |segment: &Segment| match &self.copies {
            Some([k, v]) if !segment.shared.is_empty() => {
                let row = copied;
                copied += segment.len();
                Source { k: numbers(k, self.k), v: numbers(v, self.v), row, n: segment.len() }
            }
            _ => Source { k: self.k, v: self.v, row: segment.own.start, n: segment.own.len() },
        };
        segments.iter().map(source).collect()
    }
}

/// `words` as numbers in the form of `like`.
fn numbers<'a>(words: &'a [u32], like: Numbers<'_>) -> Numbers<'a> {
    match like {
        Numbers::F32(_) => Numbers::F32(bytemuck::cast_slice(words)),
        Numbers::Bf16(_) => Numbers::Bf16(bytemuck::cast_slice(words)),
    }
}

fn copies<'a>(
    ctx: &'a Context,
    x: Numbers<'_>,
    segments: &[Segment],
    rows: usize,
    width: usize,
) -> Scratch<'a, u32> {
    match x {
        Numbers::F32(x) => {
            let mut out = ctx.words(rows * width);
            copy(ctx, x, segments, width, bytemuck::cast_slice_mut(&mut out));
            out
        }
        Numbers::Bf16(x) => {
            let mut out = ctx.words((rows * width).div_ceil(2));
            copy(ctx, x, segments, width, bytemuck::cast_slice_mut(&mut out));
            out
        }
    }
}

fn copy<T: Copy + Send + Sync>(
    ctx: &Context,
    x: &[T],
    segments: &[Segment],
    width: usize,
    mut out: &mut [T],
) {
    let mut tasks = Vec::new();
    for segment in segments.iter().filter(|segment| !segment.shared.is_empty()) {
        let own;
        (own, out) = out.split_at_mut(segment.len() * width);
        tasks.push((segment, own));
    }
    let part = |rows: &Range<usize>| &x[rows.start * width..rows.end * width];
    ctx.pool.for_each(tasks, |(Segment { shared, own }, out)| {
        let (first, rest) = out.split_at_mut(shared.len() * width);
        first.copy_from_slice(part(shared));
        rest.copy_from_slice(part(own));
    });
}

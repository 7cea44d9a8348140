//! Linear layers with LoRA over the product kernels.

use crate::backend::{Linear, LoraGrad, LoraSpan};
use crate::context::{Context, Left};
use crate::cpu::CpuBuf;
use crate::gemm::{self, Lhs, Matrix, Product, Side, Start, Term, small};
use crate::linear::thin;
use crate::numbers::{Numbers, NumbersMut};
use crate::options::Precision;
use crate::weight::WeightBytes;

type CpuLinear<'a> = Linear<'a, CpuBuf, WeightBytes>;

/// Contract: `Backend::linear`.
pub fn forward(
    ctx: &Context,
    x: Numbers<'_>,
    t: usize,
    linears: &[CpuLinear<'_>],
    xa: Option<NumbersMut<'_>>,
    add: bool,
    outs: &mut [&mut CpuBuf],
) {
    assert_eq!(linears.len(), outs.len(), "one output per linear");
    let whole = linears.iter().all(|l| l.spans.len() <= 1 && l.spans.iter().all(|s| s.rows == (0..t)));
    assert!(whole || xa.is_none(), "low-rank products are kept only for adapters of all rows");
    if t <= small::MAX_M {
        return forward_few(ctx, x, t, linears, xa, add, outs);
    }
    let Some(k) = linears.first().map(|l| l.weight.cols) else { return };
    let left = ctx.left(x, t, k);
    if whole {
        forward_whole(ctx, x, &left, t, linears, xa, add, outs);
        return;
    }
    let base = Base::forward(ctx, x, &left, t, k);
    let mut products: Vec<(Term<'_>, Start<'_>, NumbersMut<'_>, usize)> = Vec::new();
    for (linear, out) in linears.iter().zip(outs.iter_mut()) {
        products.push((
            base.term(ctx, linear.weight),
            start(linear, add),
            out.numbers_mut(),
            linear.weight.rows,
        ));
    }
    run(
        ctx,
        Side::Rows,
        products.into_iter().map(|(term, start, out, n)| (vec![term], start, out, n)).collect(),
    );
    for (linear, out) in linears.iter().zip(outs) {
        for span in &linear.spans {
            add_span(ctx, &left, linear.weight, span, out);
        }
    }
}

fn start<'a>(linear: &CpuLinear<'a>, add: bool) -> Start<'a> {
    match (linear.bias, add) {
        (bias, true) => Start::Out(bias.map(|bias| &**bias)),
        (Some(bias), false) => Start::Bias(bias),
        (None, false) => Start::Zero,
    }
}

/// Terms, start, output and its width, for several products at once.
type Job<'a> = (Vec<Term<'a>>, Start<'a>, NumbersMut<'a>, usize);

fn run(ctx: &Context, side: Side, jobs: Vec<Job<'_>>) {
    let mut parts: Vec<_> = Vec::new();
    let mut rest: Vec<_> = Vec::new();
    for (terms, start, out, stride) in jobs {
        parts.push(terms);
        rest.push((start, out, stride));
    }
    let mut products: Vec<Product<'_>> = parts
        .iter()
        .zip(rest)
        .map(|(terms, (start, out, stride))| Product { side, terms, start, out, stride })
        .collect();
    gemm::products(&ctx.pool, ctx.mode, &mut products);
}

/// A left side of products with frozen weights: as it is for all others, or rounded to integers.
enum Base<'a> {
    Words(&'a Left<'a>),
    Int8(Left<'a>),
}

impl<'a> Base<'a> {
    fn forward(ctx: &'a Context, x: Numbers<'a>, left: &'a Left<'a>, t: usize, k: usize) -> Self {
        match ctx.mode.precision {
            Precision::Int8 => Base::Int8(ctx.left_int8(x, t, k, None)),
            _ => Base::Words(left),
        }
    }

    /// For the gradient of an input; the scales of the rows of `weight` become a part of the left side.
    fn backward(
        ctx: &'a Context,
        dout: Numbers<'a>,
        left: &'a Left<'a>,
        t: usize,
        weight: &WeightBytes,
    ) -> Self {
        match ctx.mode.precision {
            Precision::Int8 => Base::Int8(ctx.left_int8(dout, t, weight.rows, Some(ctx.int8_scales(weight)))),
            _ => Base::Words(left),
        }
    }

    fn term<'b>(&'b self, ctx: &Context, weight: &'b WeightBytes) -> Term<'b> {
        let right = Matrix::Stored(weight);
        match self {
            Base::Words(left) => Term::new(left.all(), right),
            Base::Int8(left) => Term { left: left.all(), right, int8: Some(ctx.int8_scales(weight)) },
        }
    }
}

/// Every linear has one adapter over all rows, or none.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
fn forward_whole(
    ctx: &Context,
    x: Numbers<'_>,
    left: &Left<'_>,
    t: usize,
    linears: &[CpuLinear<'_>],
    kept: Option<NumbersMut<'_>>,
    add: bool,
    outs: &mut [&mut CpuBuf],
) {
    let k = linears[0].weight.cols;
    let low = LowRank::new(linears);
    let mut own = ctx.operands(if kept.is_some() { 0 } else { t * low.width });
    let mut xa = kept.map_or_else(|| own.numbers_mut(), |kept| kept.first(t * low.width));
    if low.width > 0 {
        // All A in one matrix, so that `x` is read once.
        let mut a = ctx.floats(low.width * k);
        for (span, at) in low.spans() {
            thin::scaled(span.scale, &span.a[..span.r * k], &mut a[at * k..]);
        }
        let matrix = Matrix::plain(&a, low.width, k);
        gemm::product(&ctx.pool, ctx.mode, left.all(), Side::Rows, matrix, Start::Zero, xa.reborrow());
    }
    let factors = Factors::new(ctx, xa.as_numbers(), t, &low);
    let base = Base::forward(ctx, x, left, t, k);
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for ((linear, out), place) in linears.iter().zip(outs.iter_mut()).zip(&low.places) {
        let n = linear.weight.rows;
        let mut terms = vec![base.term(ctx, linear.weight)];
        if let Some((span, at)) = place {
            terms.push(Term::new(factors.part(*at), Matrix::plain(span.b, n, span.r)));
        }
        jobs.push((terms, start(linear, add), out.numbers_mut(), n));
    }
    run(ctx, Side::Rows, jobs);
}

/// The adapters of a call side by side: where each one's columns begin.
struct LowRank<'a, 'b> {
    places: Vec<Option<(&'b LoraSpan<'a, CpuBuf>, usize)>>,
    width: usize,
}

impl<'a, 'b> LowRank<'a, 'b> {
    fn new(linears: &'b [CpuLinear<'a>]) -> Self {
        let mut width = 0;
        let places = linears
            .iter()
            .map(|linear| {
                let span = linear.spans.first()?;
                let at = width;
                width += span.r;
                Some((span, at))
            })
            .collect();
        Self { places, width }
    }

    fn spans(&self) -> impl Iterator<Item = (&'b LoraSpan<'a, CpuBuf>, usize)> {
        self.places.iter().flatten().copied()
    }
}

/// Low-rank products `[T, width]` as left sides, one per adapter.
struct Factors<'a> {
    whole: Left<'a>,
    /// Own copies, where an adapter's columns do not begin at a word or its last word holds another's column.
    parts: Vec<(usize, Left<'a>)>,
    words: gemm::Words,
}

impl<'a> Factors<'a> {
    fn new(ctx: &'a Context, x: Numbers<'a>, t: usize, low: &LowRank<'_, '_>) -> Self {
        let words = ctx.mode.words();
        let per_word = words.per_word();
        let whole = ctx.left(x, t, low.width);
        let mut parts = Vec::new();
        let fits = |span: &LoraSpan<'_, CpuBuf>, at: usize| {
            at.is_multiple_of(per_word) && (span.r.is_multiple_of(per_word) || at + span.r == low.width)
        };
        for (span, at) in low.spans().filter(|(span, at)| !fits(span, *at)) {
            let mut columns = ctx.floats(t * span.r);
            thin::columns(x, low.width, at, span.r, &mut columns);
            parts.push((at, ctx.left_of_floats(columns, t, span.r)));
        }
        Self { whole, parts, words }
    }

    /// Of the adapter whose columns begin at `at`.
    fn part(&self, at: usize) -> Lhs<'_> {
        match self.parts.iter().find(|(start, _)| *start == at) {
            Some((_, left)) => left.all(),
            None => self.whole.all().skip_words(at / self.words.per_word()),
        }
    }
}

/// Adds the low-rank term of one span of rows.
fn add_span(ctx: &Context, left: &Left<'_>, w: &WeightBytes, span: &LoraSpan<'_, CpuBuf>, out: &mut CpuBuf) {
    let (n, k, rows, r) = (w.rows, w.cols, span.rows.clone(), span.r);
    let m = rows.len();
    let mut a = ctx.floats(r * k);
    thin::scaled(span.scale, &span.a[..r * k], &mut a);
    let mut xa = ctx.operands(m * r);
    let own = left.rows(rows.start, m);
    let matrix = Matrix::plain(&a, r, k);
    gemm::product(&ctx.pool, ctx.mode, own, Side::Rows, matrix, Start::Zero, xa.numbers_mut());
    let low = ctx.left(xa.numbers(), m, r);
    let mut sums = ctx.floats(m * n);
    let matrix = Matrix::plain(span.b, n, r);
    gemm::product(
        &ctx.pool,
        ctx.mode,
        low.all(),
        Side::Rows,
        matrix,
        Start::Zero,
        NumbersMut::F32(&mut sums),
    );
    thin::add(&sums, out.numbers_mut().part(rows.start * n, m * n));
}

/// Few rows: matrix rows are expanded once and multiplied with all rows of `x`.
fn forward_few(
    ctx: &Context,
    x: Numbers<'_>,
    t: usize,
    linears: &[CpuLinear<'_>],
    mut kept: Option<NumbersMut<'_>>,
    add: bool,
    outs: &mut [&mut CpuBuf],
) {
    let low = LowRank::new(linears);
    for ((linear, out), place) in linears.iter().zip(outs).zip(&low.places) {
        let (n, k) = (linear.weight.rows, linear.weight.cols);
        let x = x.part(0, t * k).to_vec();
        let mut sums = ctx.floats(t * n);
        let begin = linear.bias.map_or(Start::Zero, |bias| Start::Bias(bias));
        small::product(&ctx.pool, ctx.mode, &x, t, Matrix::Stored(linear.weight), 1.0, begin, &mut sums);
        for span in &linear.spans {
            let (rows, r) = (span.rows.clone(), span.r);
            let m = rows.len();
            let mut xa = ctx.floats(m * r);
            let x = &x[rows.start * k..rows.end * k];
            let a = Matrix::plain(span.a, r, k);
            small::product(&ctx.pool, ctx.mode, x, m, a, span.scale, Start::Zero, &mut xa);
            let sums = &mut sums[rows.start * n..rows.end * n];
            let b = Matrix::plain(span.b, n, r);
            small::product(&ctx.pool, ctx.mode, &xa, m, b, 1.0, Start::Out(None), sums);
            if let (Some(kept), Some((_, at))) = (&mut kept, place) {
                thin::set_columns(&xa, r, kept.reborrow(), low.width, *at);
            }
        }
        match add {
            true => thin::add(&sums, out.numbers_mut().first(t * n)),
            false => crate::rows::cpu::convert(ctx, Numbers::F32(&sums), out.numbers_mut().first(t * n)),
        }
    }
}

/// Contract: `Backend::linear_backward`.
#[allow(clippy::too_many_arguments, reason = "the operands of one op")]
pub fn backward(
    ctx: &Context,
    douts: &[Numbers<'_>],
    t: usize,
    linears: &[CpuLinear<'_>],
    x: Numbers<'_>,
    xa: Option<Numbers<'_>>,
    grads: &mut [Option<LoraGrad<'_, CpuBuf>>],
    dx: Option<NumbersMut<'_>>,
) {
    assert!(linears.len() == douts.len() && linears.len() == grads.len(), "one gradient per linear");
    assert!(linears.iter().flat_map(|l| &l.spans).all(|s| s.rows == (0..t)), "adapters cover all rows");
    let Some(k) = linears.first().map(|l| l.weight.cols) else { return };
    if t == 0 {
        return;
    }
    let low = LowRank::new(linears);
    let lefts: Vec<Left<'_>> =
        linears.iter().zip(douts).map(|(l, dout)| ctx.left(*dout, t, l.weight.rows)).collect();
    let gb = low_rank_gradients(ctx, &lefts, t, linears, &low);
    if let Some(dx) = dx {
        let factors = Factors::new(ctx, gb.numbers(), t, &low);
        let bases: Vec<Base<'_>> = (linears.iter().zip(douts).zip(&lefts))
            .map(|((linear, dout), left)| Base::backward(ctx, *dout, left, t, linear.weight))
            .collect();
        let mut terms = Vec::new();
        for ((linear, base), place) in linears.iter().zip(&bases).zip(&low.places) {
            terms.push(base.term(ctx, linear.weight));
            if let Some((span, at)) = place {
                terms.push(Term::new(factors.part(*at), Matrix::plain(span.a, span.r, k)));
            }
        }
        run(ctx, Side::Cols, vec![(terms, Start::Zero, dx.first(t * k), k)]);
    }
    drop(lefts);
    let Some(xa) = xa else { return };
    // `x` is read once for the gradients of all A.
    let mut da = ctx.floats(low.width * k);
    thin::transposed_product(ctx, gb.numbers(), low.width, 0..low.width, x, k, t, &mut da);
    for (i, place) in low.places.iter().enumerate() {
        let (Some((span, at)), Some((da_out, db_out))) = (place, grads[i].as_mut()) else { continue };
        let (r, n) = (span.r, linears[i].weight.rows);
        thin::add(&da[at * k..(at + r) * k], da_out.numbers_mut().first(r * k));
        let mut db = ctx.floats(r * n);
        thin::transposed_product(ctx, xa, low.width, *at..at + r, douts[i], n, t, &mut db);
        thin::add_transposed(&db, r, n, db_out);
    }
}

/// `scale * g B` of all adapters side by side, `[T, width]`.
fn low_rank_gradients(
    ctx: &Context,
    lefts: &[Left<'_>],
    t: usize,
    linears: &[CpuLinear<'_>],
    low: &LowRank<'_, '_>,
) -> CpuBuf {
    let mut gb = ctx.operands(t * low.width);
    for ((linear, left), place) in linears.iter().zip(lefts).zip(&low.places) {
        let Some((span, at)) = place else { continue };
        let n = linear.weight.rows;
        let mut b = ctx.floats(n * span.r);
        thin::scaled(span.scale, &span.b[..n * span.r], &mut b);
        let terms = [Term::new(left.all(), Matrix::plain(&b, n, span.r))];
        let out = gb.numbers_mut().part(*at, t * low.width - at);
        let product = Product { side: Side::Cols, terms: &terms, start: Start::Zero, out, stride: low.width };
        gemm::products(&ctx.pool, ctx.mode, &mut [product]);
    }
    gb
}

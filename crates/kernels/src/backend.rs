//! The seam between models and machines: coarse ops over opaque buffers.
//!
//! `model` writes forward and backward once, over this trait. A backend owns its buffers and decides
//! how they are stored; nobody else looks inside. Matrices are row-major. `T` is the number of token
//! rows in the call, `C` a feature width, `N` a linear's output width, `K` its input width, `V` the
//! vocabulary. Shapes that disagree with the buffers are programmer errors and panic.
//!
//! Every op writes its whole output (overwrites) unless its name or its text says that it accumulates.
//!
//! A buffer holds *numbers* (f32) or *operands*: numbers that feed matrix products only and are stored as
//! those round them. Ops read and write either form of any activation, if their text does not say otherwise;
//! what is written to operands is rounded once. Parameters, their gradients and sums (`rstd`, `lse`) are
//! numbers.

use std::ops::Range;

use crate::weight::WeightBytes;

/// The LoRA adapter that applies to a range of rows of one linear call.
///
/// Training uses one span over all rows; a batch of chat requests may use another adapter per request.
#[derive(Clone, Debug)]
pub struct LoraSpan<'a, Buf> {
    /// The token rows that this adapter applies to.
    pub rows: Range<usize>,
    /// `lora_A.weight`, `[r, K]`.
    pub a: &'a Buf,
    /// `lora_B.weight`, `[N, r]`.
    pub b: &'a Buf,
    /// Rank.
    pub r: usize,
    /// `lora_alpha / r`.
    pub scale: f32,
}

/// One linear layer of a call: `x Wᵀ + bias`, plus the low-rank terms of its spans.
#[derive(Debug)]
pub struct Linear<'a, Buf, Weight> {
    /// Frozen matrix `[N, K]`.
    pub weight: &'a Weight,
    /// `[N]`.
    pub bias: Option<&'a Buf>,
    /// Adapters of rows; they do not overlap.
    pub spans: Vec<LoraSpan<'a, Buf>>,
}

/// Gradients of one linear's adapter: `da` `[r, K]` and `db` `[N, r]`.
pub type LoraGrad<'a, Buf> = (&'a mut Buf, &'a mut Buf);

/// The nonlinearity of the gated MLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    #[default]
    Silu,
    /// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`, HF `gelu_pytorch_tanh`.
    GeluTanh,
}

/// One sequence among packed rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Rows that it begins with and that are another segment's own; that one shares none. Often empty.
    pub shared: Range<usize>,
    /// The rows that follow them.
    pub own: Range<usize>,
}

impl Segment {
    /// Rows of the sequence.
    pub fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Range<usize>> for Segment {
    fn from(own: Range<usize>) -> Self {
        Self { shared: 0..0, own }
    }
}

/// Shape of one attention call. `q` is `[T, n_heads * head_dim]`; `k`, `v` are `[.., n_kv_heads * head_dim]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads. A multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Factor on the scores, usually `head_dim^-0.5`.
    pub scale: f32,
    /// Sliding window: row `i` of a segment sees rows `j <= i` with `i - j` below it. `None` sees all.
    pub window: Option<usize>,
    /// Scaled scores `s` become `c * tanh(s / c)`. Source: Gemma 2, arXiv:2408.00118.
    pub softcap: Option<f32>,
}

/// Where some columns of a row-major matrix begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Width of a whole row.
    pub row: usize,
    /// First of the columns.
    pub start: usize,
}

/// One sequence of a cached attention call: `n_new` query rows from row `start`, after `past` cached rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedSpan {
    /// First row of the sequence in `q`.
    pub start: usize,
    /// Query rows of the sequence in this call; their keys are already in the cache.
    pub n_new: usize,
    /// Rows that the cache held before this call. Query row `i` sees cache rows `0..=past + i`.
    pub past: usize,
}

/// What the loss op returns. Both sums are over the rows of the call, in row order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Sum of `weight * -log p(target)`.
    pub loss: f64,
    /// Sum of the weights.
    pub weight: f64,
}

/// AdamW with decoupled decay, as `torch.optim.AdamW`: `step` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// First moment decay.
    pub beta1: f32,
    /// Second moment decay.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay; the parameter shrinks by `learning_rate * weight_decay`.
    pub weight_decay: f32,
    /// Number of this step, from 1, for bias correction.
    pub step: u64,
}

/// One contract per op. See the module text for shapes and conventions.
///
/// Results do not depend on the number of threads: blocking and the order of every reduction are fixed.
pub trait Backend: Send + Sync + 'static {
    /// An activation, gradient or parameter buffer: a flat run of numbers.
    type Buf: Send + Sync;
    /// A frozen matrix `[N, K]` in its stored form.
    type Weight: Send + Sync;

    /// Short name for logs and reports, with the instruction set in use, for example `cpu-avx512`.
    fn name(&self) -> String;

    // Buffers -----------------------------------------------------------------------------------

    /// A buffer of `len` zeros.
    fn zeros(&self, len: usize) -> Self::Buf;
    /// A buffer of `len` zeros for operands: bf16 with `Precision::Bf16`.
    fn operands(&self, len: usize) -> Self::Buf;
    /// Bytes that [`Backend::operands`] takes per number.
    fn operand_bytes(&self) -> usize;
    /// A buffer with a copy of `data`.
    fn upload(&self, data: &[f32]) -> Self::Buf;
    /// Overwrites the first `data.len()` numbers of `buf`.
    fn write(&self, buf: &mut Self::Buf, data: &[f32]);
    /// A copy of the whole buffer, rounded to f32 if it is stored wider.
    fn download(&self, buf: &Self::Buf) -> Vec<f32>;
    /// Number of elements.
    fn len(&self, buf: &Self::Buf) -> usize;
    /// Sets every element to zero.
    fn clear(&self, buf: &mut Self::Buf);
    /// Prepares a frozen matrix. The bytes stay shared; nothing of the size of the matrix is expanded.
    fn weight(&self, bytes: WeightBytes) -> Self::Weight;
    /// `(N, K)` of a weight.
    fn weight_shape(&self, weight: &Self::Weight) -> (usize, usize);

    // Rows --------------------------------------------------------------------------------------

    /// `out[t] = scale * table[ids[t]]`, `out` `[T, C]` of numbers. Ids are below the table's rows.
    fn embed(&self, table: &Self::Weight, ids: &[u32], scale: f32, out: &mut Self::Buf);
    /// `out[i] = x[rows[i]]`, rows of width `c`; numbers.
    fn gather_rows(&self, x: &Self::Buf, rows: &[u32], c: usize, out: &mut Self::Buf);
    /// `out[rows[i]] = x[i]` and 0 in all other rows of `out` `[T, C]`, `c` wide; `rows` has no repeats. Numbers.
    fn scatter_rows(&self, x: &Self::Buf, rows: &[u32], c: usize, out: &mut Self::Buf);
    /// Copies `width` columns of `t` rows, between forms too; the other columns of `dst` stay as they are.
    fn copy_columns(
        &self,
        src: &Self::Buf,
        from: Columns,
        t: usize,
        width: usize,
        dst: &mut Self::Buf,
        to: Columns,
    );
    /// `y += x` over the first `n` numbers.
    fn add(&self, x: &Self::Buf, y: &mut Self::Buf, n: usize);

    // Norm --------------------------------------------------------------------------------------

    /// RMSNorm: `out = x * rsqrt(mean(x^2) + eps) * w`, mean over `C = len(w)`; `t` rows.
    /// Writes `rstd` `[T]` for the backward, and a copy of `x` to `kept` if given.
    /// Source: arXiv:1910.07467, HF `LlamaRMSNorm`.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn rmsnorm(
        &self,
        x: &Self::Buf,
        w: &Self::Buf,
        eps: f32,
        t: usize,
        out: &mut Self::Buf,
        rstd: &mut Self::Buf,
        kept: Option<&mut Self::Buf>,
    );
    /// Gradient of the norm's input `x`. If `sum` (numbers) is given it grows by the gradient; if `out` is given it
    /// becomes a copy of `sum`, or the gradient alone where there is no `sum`. The norm's own weight is frozen and
    /// gets no gradient.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn rmsnorm_backward(
        &self,
        dout: &Self::Buf,
        x: &Self::Buf,
        w: &Self::Buf,
        rstd: &Self::Buf,
        t: usize,
        sum: Option<&mut Self::Buf>,
        out: Option<&mut Self::Buf>,
    );

    // Linear with LoRA --------------------------------------------------------------------------

    /// Linears that share their input `x` `[T, K]`: `outs[i]` `[T, N_i]` becomes (with `add`: grows by)
    /// `x W_iᵀ + bias_i`, plus `scale * (x Aᵀ) Bᵀ` on the rows of each span. With `add`, outputs are numbers.
    ///
    /// When `xa` is given, each linear has at most one span, which covers all rows, and
    /// `scale * x Aᵀ` is kept there for the backward: `[T, sum of r]`, linear after linear.
    fn linear(
        &self,
        x: &Self::Buf,
        t: usize,
        linears: &[Linear<'_, Self::Buf, Self::Weight>],
        xa: Option<&mut Self::Buf>,
        add: bool,
        outs: &mut [&mut Self::Buf],
    );
    /// Gradient of [`Backend::linear`] for linears whose spans, if any, cover all rows. With `g_i = douts[i]`
    /// `[T, N_i]`: `dx` `[T, K]`, if given, becomes the sum of `g_i W_i + scale * (g_i B_i) A_i`; `da`, `db` of
    /// each adapted linear grow by `scale * (g B)ᵀ x` and `gᵀ (scale * x Aᵀ)`. `x` is the forward's input, `xa`
    /// what it kept. No gradient GEMM for a frozen weight.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn linear_backward(
        &self,
        douts: &[&Self::Buf],
        t: usize,
        linears: &[Linear<'_, Self::Buf, Self::Weight>],
        x: &Self::Buf,
        xa: Option<&Self::Buf>,
        grads: &mut [Option<LoraGrad<'_, Self::Buf>>],
        dx: Option<&mut Self::Buf>,
    );

    // Attention ---------------------------------------------------------------------------------

    /// Rotates pairs `(i, i + head_dim/2)` of every head by `positions[t] * inv_freq[i]` (an f32 product; HF
    /// `rotate_half` layout); `inverse` rotates back, which is the backward. `x`, `out` `[T, heads * head_dim]`.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn rope(
        &self,
        x: &Self::Buf,
        positions: &[u32],
        n_heads: usize,
        head_dim: usize,
        inv_freq: &[f32],
        inverse: bool,
        out: &mut Self::Buf,
    );
    /// Causal attention inside each segment of packed rows: a row sees the segment's shared rows, and its own up to
    /// itself. Own rows cover `0..T` without overlap. `q`, `k`, `v`, `out` are of one form.
    /// `out` `[T, n_heads * head_dim]`; `lse` `[T, n_heads]` (log-sum-exp of the scaled scores) is kept
    /// for the backward. Work grows with the sum of squared segment lengths.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn attention(
        &self,
        q: &Self::Buf,
        k: &Self::Buf,
        v: &Self::Buf,
        segments: &[Segment],
        shape: AttentionShape,
        out: &mut Self::Buf,
        lse: &mut Self::Buf,
    );
    /// Overwrites `dq`, `dk`, `dv`. `dout`, `q`, `k`, `v`, `out` are of one form.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn attention_backward(
        &self,
        dout: &Self::Buf,
        q: &Self::Buf,
        k: &Self::Buf,
        v: &Self::Buf,
        out: &Self::Buf,
        lse: &Self::Buf,
        segments: &[Segment],
        shape: AttentionShape,
        dq: &mut Self::Buf,
        dk: &mut Self::Buf,
        dv: &mut Self::Buf,
    );
    /// Copies rows, between forms too: `src_start..src_start + n` of `src` (width `c`) to rows from `dst_start` of `dst`.
    fn copy_rows(
        &self,
        src: &Self::Buf,
        src_start: usize,
        n: usize,
        c: usize,
        dst: &mut Self::Buf,
        dst_start: usize,
    );
    /// Attention of new rows over per-sequence caches, for decoding. `k_caches[i]`, `v_caches[i]`
    /// belong to `spans[i]` and hold at least `past + n_new` rows.
    fn attention_cached(
        &self,
        q: &Self::Buf,
        k_caches: &[&Self::Buf],
        v_caches: &[&Self::Buf],
        spans: &[CachedSpan],
        shape: AttentionShape,
        out: &mut Self::Buf,
    );

    // Gated MLP ---------------------------------------------------------------------------------

    /// `out = activation(gate) * up` over the first `n` elements. Source: arXiv:2002.05202.
    fn glu(&self, activation: Activation, gate: &Self::Buf, up: &Self::Buf, n: usize, out: &mut Self::Buf);
    /// In place, over the first `n` elements: `gate` and `up` become their gradients, and `dout`, the gradient of
    /// [`Backend::glu`]'s output, becomes that output. All buffers are of one form.
    fn glu_backward(
        &self,
        activation: Activation,
        dout: &mut Self::Buf,
        gate: &mut Self::Buf,
        up: &mut Self::Buf,
        n: usize,
    );

    // Loss and optimiser ------------------------------------------------------------------------

    /// Weighted cross-entropy of `softmax(z)`, `z = hidden Wᵀ` or with `softcap` `c * tanh(hidden Wᵀ / c)`, with
    /// logits made in chunks and never kept. `hidden` `[n, C]`, `head` `[V, C]`; `targets` and `weights` have `n`
    /// entries. When `dhidden` `[n, C]` (numbers) is given it is overwritten with the gradient of
    /// `scale * weighted loss`. A row of weight 0 has loss 0 and a zero gradient, and its target may be any
    /// number; other targets are below `V`.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn cross_entropy(
        &self,
        hidden: &Self::Buf,
        head: &Self::Weight,
        targets: &[u32],
        weights: &[f32],
        scale: f32,
        softcap: Option<f32>,
        dhidden: Option<&mut Self::Buf>,
    ) -> LossSums;
    /// Sum of squares, reduced in a fixed order in f64.
    fn sum_squares(&self, x: &Self::Buf) -> f64;
    /// One AdamW update of `param` with gradient `grad`, moments `m` and `v`, all of one length.
    fn adamw(
        &self,
        param: &mut Self::Buf,
        grad: &Self::Buf,
        m: &mut Self::Buf,
        v: &mut Self::Buf,
        adamw: &AdamW,
    );
}

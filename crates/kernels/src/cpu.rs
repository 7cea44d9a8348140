//! The CPU backend: contracts checked, work handed to the op folders.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use crate::attention::{self, reference::Grads};
use crate::backend::{AdamW, AttentionShape, Backend, CachedSpan, LoraSpan, LossSums};
use crate::context::Context;
use crate::error::KernelError;
use crate::gemm::Mode;
use crate::linear::cpu as linear;
use crate::loss::cpu as loss;
use crate::optimizer::cpu as optimizer;
use crate::options::{CpuOptions, Isa, Precision};
use crate::pool::Pool;
use crate::rmsnorm::cpu as rmsnorm;
use crate::rope::cpu as rope;
use crate::rows::{cpu as rows, reference};
use crate::swiglu::cpu as swiglu;
use crate::weight::WeightBytes;

/// Numbers in one cache line, to which buffers are aligned.
const LINE: usize = 16;

/// f32 numbers that begin on a 64-byte border.
pub struct CpuBuf {
    // The numbers are `data[start..start + len]`; the vector never grows, so its address stays.
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl CpuBuf {
    fn zeros(len: usize) -> Self {
        let data = vec![0.0f32; len + LINE - 1];
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Self { data, start, len }
    }
}

impl Deref for CpuBuf {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for CpuBuf {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

impl fmt::Debug for CpuBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBuf").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The CPU backend. Ops of several callers follow one another; each uses all threads.
pub struct Cpu {
    ctx: Context,
    rope_tables: rope::Tables,
}

impl Cpu {
    /// Starts the worker threads. Fails when a forced instruction set is not available or no thread can start.
    pub fn new(options: CpuOptions) -> Result<Self, KernelError> {
        let isa = options.isa.unwrap_or_else(Isa::best);
        if !isa.is_available() {
            let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
            return Err(KernelError::IsaUnavailable { isa, available: names.join(", ") });
        }
        let mode = Mode { isa, precision: options.precision };
        Ok(Self {
            ctx: Context::new(Pool::new(options.threads)?, mode),
            rope_tables: rope::Tables::default(),
        })
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.ctx.pool.threads()
    }

    /// Instruction set in use.
    pub fn isa(&self) -> Isa {
        self.ctx.mode.isa
    }

    /// Rounding of the inputs of matrix products.
    pub fn precision(&self) -> Precision {
        self.ctx.mode.precision
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Backend for Cpu {
    type Buf = CpuBuf;
    type Weight = WeightBytes;

    fn name(&self) -> String {
        let precision = match self.precision() {
            Precision::Bf16 => "bf16",
            Precision::F32 => "f32",
        };
        format!("cpu-{} ({precision}, {} threads)", self.isa(), self.threads())
    }

    fn zeros(&self, len: usize) -> CpuBuf {
        CpuBuf::zeros(len)
    }

    fn upload(&self, data: &[f32]) -> CpuBuf {
        let mut buf = CpuBuf::zeros(data.len());
        buf.copy_from_slice(data);
        buf
    }

    fn write(&self, buf: &mut CpuBuf, data: &[f32]) {
        buf[..data.len()].copy_from_slice(data);
    }

    fn download(&self, buf: &CpuBuf) -> Vec<f32> {
        buf.to_vec()
    }

    fn len(&self, buf: &CpuBuf) -> usize {
        buf.len
    }

    fn clear(&self, buf: &mut CpuBuf) {
        buf.fill(0.0);
    }

    fn weight(&self, bytes: WeightBytes) -> WeightBytes {
        bytes
    }

    fn weight_shape(&self, weight: &WeightBytes) -> (usize, usize) {
        (weight.rows, weight.cols)
    }

    fn embed(&self, table: &WeightBytes, ids: &[u32], out: &mut CpuBuf) {
        rows::embed(&self.ctx, table, ids, out);
    }

    fn gather_rows(&self, x: &CpuBuf, rows: &[u32], c: usize, out: &mut CpuBuf) {
        rows::gather(&self.ctx, x, rows, c, out);
    }

    fn scatter_add_rows(&self, x: &CpuBuf, rows: &[u32], c: usize, out: &mut CpuBuf) {
        reference::scatter_add(x, rows, c, out);
    }

    fn add(&self, x: &CpuBuf, y: &mut CpuBuf, n: usize) {
        rows::add(&self.ctx, &x[..n], &mut y[..n]);
    }

    fn rmsnorm(&self, x: &CpuBuf, w: &CpuBuf, eps: f32, t: usize, out: &mut CpuBuf, rstd: &mut CpuBuf) {
        rmsnorm::forward(&self.ctx, x, w, eps, out, &mut rstd[..t]);
    }

    fn rmsnorm_backward(
        &self,
        dout: &CpuBuf,
        x: &CpuBuf,
        w: &CpuBuf,
        rstd: &CpuBuf,
        t: usize,
        dx: &mut CpuBuf,
    ) {
        rmsnorm::backward(&self.ctx, dout, x, w, &rstd[..t], dx);
    }

    fn linear(
        &self,
        x: &CpuBuf,
        t: usize,
        w: &WeightBytes,
        bias: Option<&CpuBuf>,
        spans: &[LoraSpan<'_, CpuBuf>],
        xa: Option<&mut [CpuBuf]>,
        out: &mut CpuBuf,
    ) {
        linear::forward(&self.ctx, x, t, w, bias.map(|b| &**b), spans, xa, out);
    }

    fn linear_backward_input(
        &self,
        dout: &CpuBuf,
        t: usize,
        w: &WeightBytes,
        span: Option<&LoraSpan<'_, CpuBuf>>,
        dx: &mut CpuBuf,
    ) {
        linear::backward_input(&self.ctx, &dout[..t * w.rows], t, w, span, dx);
    }

    fn linear_backward_lora(
        &self,
        dout: &CpuBuf,
        t: usize,
        x: &CpuBuf,
        xa: &CpuBuf,
        span: &LoraSpan<'_, CpuBuf>,
        da: &mut CpuBuf,
        db: &mut CpuBuf,
    ) {
        assert!(span.rows.end <= t, "a span ends behind the rows");
        linear::backward_lora(&self.ctx, dout, x, xa, span, da, db);
    }

    fn rope(
        &self,
        x: &mut CpuBuf,
        positions: &[u32],
        n_heads: usize,
        head_dim: usize,
        inv_freq: &[f32],
        inverse: bool,
    ) {
        rope::rope(&self.ctx, &self.rope_tables, x, positions, n_heads, head_dim, inv_freq, inverse);
    }

    fn attention(
        &self,
        q: &CpuBuf,
        k: &CpuBuf,
        v: &CpuBuf,
        segments: &[Range<usize>],
        shape: AttentionShape,
        out: &mut CpuBuf,
        lse: &mut CpuBuf,
    ) {
        attention::cpu::forward(&self.ctx, q, k, v, segments, shape, out, lse);
    }

    fn attention_backward(
        &self,
        dout: &CpuBuf,
        q: &CpuBuf,
        k: &CpuBuf,
        v: &CpuBuf,
        out: &CpuBuf,
        lse: &CpuBuf,
        segments: &[Range<usize>],
        shape: AttentionShape,
        dq: &mut CpuBuf,
        dk: &mut CpuBuf,
        dv: &mut CpuBuf,
    ) {
        let grads = Grads { dq, dk, dv };
        attention::backward::backward(&self.ctx, dout, q, k, v, out, lse, segments, shape, grads);
    }

    fn copy_rows(
        &self,
        src: &CpuBuf,
        src_start: usize,
        n: usize,
        c: usize,
        dst: &mut CpuBuf,
        dst_start: usize,
    ) {
        dst[dst_start * c..][..n * c].copy_from_slice(&src[src_start * c..][..n * c]);
    }

    fn attention_cached(
        &self,
        q: &CpuBuf,
        k_caches: &[&CpuBuf],
        v_caches: &[&CpuBuf],
        spans: &[CachedSpan],
        shape: AttentionShape,
        out: &mut CpuBuf,
    ) {
        let k: Vec<&[f32]> = k_caches.iter().map(|k| &***k).collect();
        let v: Vec<&[f32]> = v_caches.iter().map(|v| &***v).collect();
        attention::cached::forward(&self.ctx, q, &k, &v, spans, shape, out);
    }

    fn swiglu(&self, gate: &CpuBuf, up: &CpuBuf, n: usize, out: &mut CpuBuf) {
        swiglu::forward(&self.ctx, &gate[..n], &up[..n], &mut out[..n]);
    }

    fn swiglu_backward(
        &self,
        dout: &CpuBuf,
        gate: &CpuBuf,
        up: &CpuBuf,
        n: usize,
        dgate: &mut CpuBuf,
        dup: &mut CpuBuf,
    ) {
        swiglu::backward(&self.ctx, &dout[..n], &gate[..n], &up[..n], &mut dgate[..n], &mut dup[..n]);
    }

    fn cross_entropy(
        &self,
        hidden: &CpuBuf,
        head: &WeightBytes,
        targets: &[u32],
        weights: &[f32],
        scale: f32,
        dhidden: Option<&mut CpuBuf>,
    ) -> LossSums {
        assert_eq!(targets.len(), weights.len(), "one weight per target");
        loss::cross_entropy(&self.ctx, hidden, head, targets, weights, scale, dhidden.map(|d| &mut **d))
    }

    fn sum_squares(&self, x: &CpuBuf) -> f64 {
        optimizer::sum_squares(&self.ctx, x)
    }

    fn adamw(&self, param: &mut CpuBuf, grad: &CpuBuf, m: &mut CpuBuf, v: &mut CpuBuf, adamw: &AdamW) {
        let n = param.len();
        assert!(n == grad.len() && n == m.len() && n == v.len(), "one length for all");
        optimizer::adamw(&self.ctx, param, grad, m, v, adamw);
    }
}

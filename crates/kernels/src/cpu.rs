//! The CPU backend: contracts checked, work handed to the op folders.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::attention::{
    self,
    backward::{Grads, Inputs},
};
use crate::backend::{
    Activation, AdamW, AttentionShape, Backend, CachedSpan, Columns, Linear, LoraGrad, LossSums, Segment,
};
use crate::context::Context;
use crate::error::KernelError;
use crate::gemm::Mode;
use crate::glu::cpu as glu;
use crate::linear::cpu as linear;
use crate::loss::cpu as loss;
use crate::measure;
use crate::numbers::{Form, Numbers, NumbersMut};
use crate::optimizer::cpu as optimizer;
use crate::options::{CpuOptions, Isa, Precision};
use crate::pool::Pool;
use crate::rmsnorm::cpu as rmsnorm;
use crate::rope::cpu as rope;
use crate::rows::cpu as rows;
use crate::weight::WeightBytes;

/// Words of 32 bits in one cache line, to which buffers are aligned.
const LINE: usize = 16;

/// Numbers, or operands in bf16, that begin on a 64-byte border. As a slice it is its f32 numbers; operands in
/// bf16 cannot be seen.
pub struct CpuBuf {
    // The bytes begin at `data[start]`; the vector never grows, so its address stays.
    data: Vec<u32>,
    start: usize,
    len: usize,
    form: Form,
}

impl CpuBuf {
    pub(crate) fn new(form: Form, len: usize) -> Self {
        let data = vec![0u32; (len * form.bytes()).div_ceil(4) + LINE - 1];
        let start = data.as_ptr().align_offset(LINE * 4).min(LINE - 1);
        Self { data, start, len, form }
    }

    pub(crate) fn numbers(&self) -> Numbers<'_> {
        let words = &self.data[self.start..];
        match self.form {
            Form::F32 => Numbers::F32(&bytemuck::cast_slice(words)[..self.len]),
            Form::Bf16 => Numbers::Bf16(&bytemuck::cast_slice(words)[..self.len]),
        }
    }

    pub(crate) fn numbers_mut(&mut self) -> NumbersMut<'_> {
        let words = &mut self.data[self.start..];
        match self.form {
            Form::F32 => NumbersMut::F32(&mut bytemuck::cast_slice_mut(words)[..self.len]),
            Form::Bf16 => NumbersMut::Bf16(&mut bytemuck::cast_slice_mut(words)[..self.len]),
        }
    }
}

impl Deref for CpuBuf {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self.numbers() {
            Numbers::F32(x) => x,
            Numbers::Bf16(_) => panic!("this buffer holds operands, not numbers"),
        }
    }
}

impl DerefMut for CpuBuf {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self.numbers_mut() {
            NumbersMut::F32(x) => x,
            NumbersMut::Bf16(_) => panic!("this buffer holds operands, not numbers"),
        }
    }
}

impl fmt::Debug for CpuBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBuf").field("len", &self.len).field("form", &self.form).finish_non_exhaustive()
    }
}

/// The CPU backend. Ops of several callers follow one another; each uses all threads.
pub struct Cpu {
    isa: Isa,
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
        let mode = Mode::new(isa, options.precision);
        Ok(Self {
            isa,
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
        self.isa
    }

    /// Rounding of the inputs of matrix products.
    pub fn precision(&self) -> Precision {
        self.ctx.mode.precision
    }

    /// The ceiling of products: floating-point operations per second of multiply-adds between registers, on all
    /// threads, with the instructions of this backend's products. Measured anew each time, in about 0.2 s.
    pub fn peak_flop_per_second(&self) -> f64 {
        measure::peak_flop_per_second(&self.ctx)
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
            Precision::Int8 => "int8",
        };
        format!("cpu-{} ({precision}, {} threads)", self.isa(), self.threads())
    }

    fn zeros(&self, len: usize) -> CpuBuf {
        CpuBuf::new(Form::F32, len)
    }

    fn operands(&self, len: usize) -> CpuBuf {
        self.ctx.operands(len)
    }

    fn operand_bytes(&self) -> usize {
        self.ctx.mode.operand_form().bytes()
    }

    fn upload(&self, data: &[f32]) -> CpuBuf {
        let mut buf = self.zeros(data.len());
        buf.copy_from_slice(data);
        buf
    }

    fn write(&self, buf: &mut CpuBuf, data: &[f32]) {
        rows::convert(&self.ctx, Numbers::F32(data), buf.numbers_mut().first(data.len()));
    }

    fn download(&self, buf: &CpuBuf) -> Vec<f32> {
        buf.numbers().to_vec()
    }

    fn len(&self, buf: &CpuBuf) -> usize {
        buf.len
    }

    fn clear(&self, buf: &mut CpuBuf) {
        buf.data.fill(0);
    }

    fn weight(&self, bytes: WeightBytes) -> WeightBytes {
        bytes
    }

    fn weight_shape(&self, weight: &WeightBytes) -> (usize, usize) {
        (weight.rows, weight.cols)
    }

    fn embed(&self, table: &WeightBytes, ids: &[u32], scale: f32, out: &mut CpuBuf) {
        rows::embed(&self.ctx, table, ids, scale, out);
    }

    fn gather_rows(&self, x: &CpuBuf, rows: &[u32], c: usize, out: &mut CpuBuf) {
        rows::gather(&self.ctx, x, rows, c, out);
    }

    fn scatter_rows(&self, x: &CpuBuf, rows: &[u32], c: usize, out: &mut CpuBuf) {
        rows::scatter(&self.ctx, x, rows, c, out);
    }

    fn add(&self, x: &CpuBuf, y: &mut CpuBuf, n: usize) {
        rows::add(&self.ctx, &x[..n], &mut y[..n]);
    }

    fn copy_columns(
        &self,
        src: &CpuBuf,
        from: Columns,
        t: usize,
        width: usize,
        dst: &mut CpuBuf,
        to: Columns,
    ) {
        rows::copy_columns(&self.ctx, src.numbers(), from, t, width, dst.numbers_mut(), to);
    }

    fn rmsnorm(
        &self,
        x: &CpuBuf,
        w: &CpuBuf,
        eps: f32,
        t: usize,
        out: &mut CpuBuf,
        rstd: &mut CpuBuf,
        kept: Option<&mut CpuBuf>,
    ) {
        let kept = kept.map(CpuBuf::numbers_mut);
        rmsnorm::forward(&self.ctx, x.numbers(), w, eps, out.numbers_mut(), &mut rstd[..t], kept);
    }

    fn rmsnorm_backward(
        &self,
        dout: &CpuBuf,
        x: &CpuBuf,
        w: &CpuBuf,
        rstd: &CpuBuf,
        t: usize,
        sum: Option<&mut CpuBuf>,
        out: Option<&mut CpuBuf>,
    ) {
        let (sum, out) = (sum.map(|sum| &mut **sum), out.map(CpuBuf::numbers_mut));
        rmsnorm::backward(&self.ctx, dout.numbers(), x.numbers(), w, &rstd[..t], sum, out);
    }

    fn linear(
        &self,
        x: &CpuBuf,
        t: usize,
        linears: &[Linear<'_, CpuBuf, WeightBytes>],
        xa: Option<&mut CpuBuf>,
        add: bool,
        outs: &mut [&mut CpuBuf],
    ) {
        linear::forward(&self.ctx, x.numbers(), t, linears, xa.map(CpuBuf::numbers_mut), add, outs);
    }

    fn linear_backward(
        &self,
        douts: &[&CpuBuf],
        t: usize,
        linears: &[Linear<'_, CpuBuf, WeightBytes>],
        x: &CpuBuf,
        xa: Option<&CpuBuf>,
        grads: &mut [Option<LoraGrad<'_, CpuBuf>>],
        dx: Option<&mut CpuBuf>,
    ) {
        let douts: Vec<Numbers<'_>> = douts.iter().map(|d| d.numbers()).collect();
        let (xa, dx) = (xa.map(CpuBuf::numbers), dx.map(CpuBuf::numbers_mut));
        linear::backward(&self.ctx, &douts, t, linears, x.numbers(), xa, grads, dx);
    }

    fn rope(
        &self,
        x: &CpuBuf,
        positions: &[u32],
        n_heads: usize,
        head_dim: usize,
        inv_freq: &[f32],
        inverse: bool,
        out: &mut CpuBuf,
    ) {
        let table = self.rope_tables.get(positions, inv_freq);
        rope::rope(&self.ctx, x.numbers(), positions, &table, n_heads, head_dim, inverse, out.numbers_mut());
    }

    fn attention(
        &self,
        q: &CpuBuf,
        k: &CpuBuf,
        v: &CpuBuf,
        segments: &[Segment],
        shape: AttentionShape,
        out: &mut CpuBuf,
        lse: &mut CpuBuf,
    ) {
        let (q, k, v) = (q.numbers(), k.numbers(), v.numbers());
        attention::forward::forward(&self.ctx, q, k, v, segments, shape, out.numbers_mut(), lse);
    }

    fn attention_backward(
        &self,
        dout: &CpuBuf,
        q: &CpuBuf,
        k: &CpuBuf,
        v: &CpuBuf,
        out: &CpuBuf,
        lse: &CpuBuf,
        segments: &[Segment],
        shape: AttentionShape,
        dq: &mut CpuBuf,
        dk: &mut CpuBuf,
        dv: &mut CpuBuf,
    ) {
        let (dout, q, k) = (dout.numbers(), q.numbers(), k.numbers());
        let input = Inputs { dout, q, k, v: v.numbers(), out: out.numbers(), lse };
        let grads = Grads { dq: dq.numbers_mut(), dk: dk.numbers_mut(), dv: dv.numbers_mut() };
        attention::backward::backward(&self.ctx, input, segments, shape, grads);
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
        let src = src.numbers().part(src_start * c, n * c);
        rows::convert(&self.ctx, src, dst.numbers_mut().part(dst_start * c, n * c));
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
        let k: Vec<_> = k_caches.iter().map(|k| k.numbers()).collect();
        let v: Vec<_> = v_caches.iter().map(|v| v.numbers()).collect();
        attention::cached::forward(&self.ctx, q.numbers(), &k, &v, spans, shape, out.numbers_mut());
    }

    fn glu(&self, activation: Activation, gate: &CpuBuf, up: &CpuBuf, n: usize, out: &mut CpuBuf) {
        let (gate, up) = (gate.numbers().part(0, n), up.numbers().part(0, n));
        glu::forward(&self.ctx, activation, gate, up, out.numbers_mut().first(n));
    }

    fn glu_backward(
        &self,
        activation: Activation,
        dout: &mut CpuBuf,
        gate: &mut CpuBuf,
        up: &mut CpuBuf,
        n: usize,
    ) {
        glu::backward(&self.ctx, activation, [dout, gate, up].map(|x| x.numbers_mut().first(n)));
    }

    fn cross_entropy(
        &self,
        hidden: &CpuBuf,
        head: &WeightBytes,
        targets: &[u32],
        weights: &[f32],
        scale: f32,
        softcap: Option<f32>,
        dhidden: Option<&mut CpuBuf>,
    ) -> LossSums {
        assert_eq!(targets.len(), weights.len(), "one weight per target");
        let dhidden = dhidden.map(|d| &mut **d);
        loss::cross_entropy(&self.ctx, hidden.numbers(), head, targets, weights, scale, softcap, dhidden)
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

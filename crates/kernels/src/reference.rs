//! The reference backend: scalar, safe, plain loops, in f32 or f64.

use crate::attention::reference as attention;
use crate::backend::{
    Activation, AdamW, AttentionShape, Backend, CachedSpan, Columns, Linear, LoraGrad, LossSums, Segment,
};
use crate::glu::reference as glu;
use crate::linear::reference as linear;
use crate::loss::reference as loss;
use crate::optimizer::reference as optimizer;
use crate::real::Real;
use crate::rmsnorm::reference as rmsnorm;
use crate::rope::reference as rope;
use crate::rows::reference as rows;
use crate::weight::WeightBytes;
use std::marker::PhantomData;

/// Scalar backend in `F` (f32 or f64). Buffers are plain vectors, open to tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference<F>(PhantomData<F>);

impl<F: Real> Reference<F> {
    /// The backend; it has no state.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F: Real> Backend for Reference<F> {
    type Buf = Vec<F>;
    type Weight = WeightBytes;

    fn name(&self) -> String {
        format!("reference-{}", F::NAME)
    }

    fn zeros(&self, len: usize) -> Vec<F> {
        vec![F::ZERO; len]
    }

    fn operands(&self, len: usize) -> Vec<F> {
        self.zeros(len)
    }

    fn operand_bytes(&self) -> usize {
        size_of::<F>()
    }

    fn upload(&self, data: &[f32]) -> Vec<F> {
        data.iter().map(|&x| F::of(x)).collect()
    }

    fn write(&self, buf: &mut Vec<F>, data: &[f32]) {
        assert!(data.len() <= buf.len(), "write of {} into a buffer of {}", data.len(), buf.len());
        for (o, &x) in buf.iter_mut().zip(data) {
            *o = F::of(x);
        }
    }

    fn download(&self, buf: &Vec<F>) -> Vec<f32> {
        buf.iter().map(|x| x.to_f32()).collect()
    }

    fn len(&self, buf: &Vec<F>) -> usize {
        buf.len()
    }

    fn clear(&self, buf: &mut Vec<F>) {
        buf.fill(F::ZERO);
    }

    fn weight(&self, bytes: WeightBytes) -> WeightBytes {
        bytes
    }

    fn weight_shape(&self, weight: &WeightBytes) -> (usize, usize) {
        (weight.rows, weight.cols)
    }

    fn embed(&self, table: &WeightBytes, ids: &[u32], scale: f32, out: &mut Vec<F>) {
        rows::embed(table, ids, scale, out);
    }

    fn gather_rows(&self, x: &Vec<F>, rows: &[u32], c: usize, out: &mut Vec<F>) {
        rows::gather(x, rows, c, out);
    }

    fn scatter_rows(&self, x: &Vec<F>, rows: &[u32], c: usize, out: &mut Vec<F>) {
        rows::scatter(x, rows, c, out);
    }

    fn add(&self, x: &Vec<F>, y: &mut Vec<F>, n: usize) {
        rows::add(&x[..n], &mut y[..n]);
    }

    fn copy_columns(
        &self,
        src: &Vec<F>,
        from: Columns,
        t: usize,
        width: usize,
        dst: &mut Vec<F>,
        to: Columns,
    ) {
        rows::copy_columns(src, from, t, width, dst, to);
    }

    fn rmsnorm(
        &self,
        x: &Vec<F>,
        w: &Vec<F>,
        eps: f32,
        t: usize,
        out: &mut Vec<F>,
        rstd: &mut Vec<F>,
        kept: Option<&mut Vec<F>>,
    ) {
        rmsnorm::forward(x, w, eps, out, &mut rstd[..t]);
        if let Some(kept) = kept {
            kept[..t * w.len()].copy_from_slice(&x[..t * w.len()]);
        }
    }

    fn rmsnorm_backward(
        &self,
        dout: &Vec<F>,
        x: &Vec<F>,
        w: &Vec<F>,
        rstd: &Vec<F>,
        t: usize,
        sum: Option<&mut Vec<F>>,
        out: Option<&mut Vec<F>>,
    ) {
        let mut dx = match &sum {
            Some(sum) => sum[..t * w.len()].to_vec(),
            None => self.zeros(t * w.len()),
        };
        rmsnorm::backward(dout, x, w, &rstd[..t], &mut dx);
        for to in [sum, out].into_iter().flatten() {
            to[..dx.len()].copy_from_slice(&dx);
        }
    }

    fn linear(
        &self,
        x: &Vec<F>,
        t: usize,
        linears: &[Linear<'_, Vec<F>, WeightBytes>],
        xa: Option<&mut Vec<F>>,
        add: bool,
        outs: &mut [&mut Vec<F>],
    ) {
        linear::forward(x, t, linears, xa.map(Vec::as_mut_slice), add, outs);
    }

    fn linear_backward(
        &self,
        douts: &[&Vec<F>],
        t: usize,
        linears: &[Linear<'_, Vec<F>, WeightBytes>],
        x: &Vec<F>,
        xa: Option<&Vec<F>>,
        grads: &mut [Option<LoraGrad<'_, Vec<F>>>],
        dx: Option<&mut Vec<F>>,
    ) {
        linear::backward(douts, t, linears, x, xa.map(Vec::as_slice), grads, dx.map(Vec::as_mut_slice));
    }

    fn rope(
        &self,
        x: &Vec<F>,
        positions: &[u32],
        n_heads: usize,
        head_dim: usize,
        inv_freq: &[f32],
        inverse: bool,
        out: &mut Vec<F>,
    ) {
        rope::rope(x, positions, n_heads, head_dim, inv_freq, inverse, out);
    }

    fn attention(
        &self,
        q: &Vec<F>,
        k: &Vec<F>,
        v: &Vec<F>,
        segments: &[Segment],
        shape: AttentionShape,
        out: &mut Vec<F>,
        lse: &mut Vec<F>,
    ) {
        attention::forward(q, k, v, segments, shape, out, lse);
    }

    fn attention_backward(
        &self,
        dout: &Vec<F>,
        q: &Vec<F>,
        k: &Vec<F>,
        v: &Vec<F>,
        out: &Vec<F>,
        lse: &Vec<F>,
        segments: &[Segment],
        shape: AttentionShape,
        dq: &mut Vec<F>,
        dk: &mut Vec<F>,
        dv: &mut Vec<F>,
    ) {
        let grads = attention::Grads { dq, dk, dv };
        attention::backward(dout, q, k, v, out, lse, segments, shape, grads);
    }

    fn copy_rows(
        &self,
        src: &Vec<F>,
        src_start: usize,
        n: usize,
        c: usize,
        dst: &mut Vec<F>,
        dst_start: usize,
    ) {
        dst[dst_start * c..][..n * c].copy_from_slice(&src[src_start * c..][..n * c]);
    }

    fn attention_cached(
        &self,
        q: &Vec<F>,
        k_caches: &[&Vec<F>],
        v_caches: &[&Vec<F>],
        spans: &[CachedSpan],
        shape: AttentionShape,
        out: &mut Vec<F>,
    ) {
        let k: Vec<&[F]> = k_caches.iter().map(|k| k.as_slice()).collect();
        let v: Vec<&[F]> = v_caches.iter().map(|v| v.as_slice()).collect();
        attention::cached(q, &k, &v, spans, shape, out);
    }

    fn glu(&self, activation: Activation, gate: &Vec<F>, up: &Vec<F>, n: usize, out: &mut Vec<F>) {
        glu::forward(activation, gate, up, &mut out[..n]);
    }

    fn glu_backward(
        &self,
        activation: Activation,
        dout: &mut Vec<F>,
        gate: &mut Vec<F>,
        up: &mut Vec<F>,
        n: usize,
    ) {
        glu::backward(activation, &mut dout[..n], gate, up);
    }

    fn cross_entropy(
        &self,
        hidden: &Vec<F>,
        head: &WeightBytes,
        targets: &[u32],
        weights: &[f32],
        scale: f32,
        softcap: Option<f32>,
        dhidden: Option<&mut Vec<F>>,
    ) -> LossSums {
        assert_eq!(targets.len(), weights.len(), "one weight per target");
        let dhidden = dhidden.map(Vec::as_mut_slice);
        loss::cross_entropy(hidden, head, targets, weights, scale, softcap, dhidden)
    }

    fn sum_squares(&self, x: &Vec<F>) -> f64 {
        optimizer::sum_squares(x)
    }

    fn adamw(&self, param: &mut Vec<F>, grad: &Vec<F>, m: &mut Vec<F>, v: &mut Vec<F>, adamw: &AdamW) {
        optimizer::adamw(param, grad, m, v, adamw);
    }
}

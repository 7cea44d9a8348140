//! The forward pass, the loss and logits.

use std::ops::Range;

use hearth_kernels::backend::{Backend, CachedSpan, LossSums};

use crate::config::Module;
use crate::decode::KvCache;
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::lora::{Adapters, Lora};
use crate::packed::Packed;
use crate::workspace::{Acts, Forward, Temp, Workspace};

/// What the queries of a call see.
pub(crate) enum Attend<'a, 'c, B: Backend> {
    /// The earlier rows of their own segment.
    Packed(&'a [Range<usize>]),
    /// The cache of their sequence; `spans[i]` belongs to `caches[i]`.
    Cached { caches: &'a mut [&'c mut KvCache<B>], spans: &'a [CachedSpan] },
}

impl<B: Backend> Decoder<B> {
    /// One linear with bias and adapters. `x` `[T, K]`, `out` `[T, N]`.
    #[allow(clippy::too_many_arguments, reason = "one fused op; a struct would only rename the arguments")]
    fn linear(
        &self,
        l: usize,
        m: Module,
        x: &B::Buf,
        t: usize,
        adapters: &Adapters<'_, B>,
        xa: &mut [Option<B::Buf>; 7],
        out: &mut B::Buf,
    ) {
        let layer = &self.layers[l];
        let spans = adapters.spans(l, m);
        let xa = if spans.is_empty() { None } else { xa[m as usize].as_mut().map(std::slice::from_mut) };
        let bias = layer.bias[m as usize].as_ref();
        self.backend.linear(x, t, &layer.linear[m as usize], bias, &spans, xa, out);
    }

    /// One block: reads `acts.x` `[T, C]`, fills `acts`, writes the new residual to `out` `[T, C]`.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    pub(crate) fn block(
        &self,
        l: usize,
        positions: &[u32],
        adapters: &Adapters<'_, B>,
        attend: &mut Attend<'_, '_, B>,
        acts: &mut Acts<B>,
        temp: &mut Temp<B>,
        out: &mut B::Buf,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[l], positions.len());
        b.rmsnorm(&acts.x, &layer.attn_norm, c.rms_norm_eps, t, &mut temp.normed, &mut temp.rstd);
        self.linear(l, Module::Q, &temp.normed, t, adapters, &mut acts.xa, &mut acts.q);
        self.linear(l, Module::K, &temp.normed, t, adapters, &mut acts.xa, &mut acts.k);
        self.linear(l, Module::V, &temp.normed, t, adapters, &mut acts.xa, &mut acts.v);
        b.rope(&mut acts.q, positions, c.num_attention_heads, c.head_dim, &self.inv_freq, false);
        b.rope(&mut acts.k, positions, c.num_key_value_heads, c.head_dim, &self.inv_freq, false);
        self.attend(l, attend, acts);
        self.linear(l, Module::O, &acts.att, t, adapters, &mut acts.xa, &mut acts.x_mid);
        b.add(&acts.x, &mut acts.x_mid, t * c.hidden_size);
        b.rmsnorm(&acts.x_mid, &layer.mlp_norm, c.rms_norm_eps, t, &mut temp.normed, &mut temp.rstd);
        self.linear(l, Module::Gate, &temp.normed, t, adapters, &mut acts.xa, &mut acts.gate);
        self.linear(l, Module::Up, &temp.normed, t, adapters, &mut acts.xa, &mut acts.up);
        b.swiglu(&acts.gate, &acts.up, t * c.intermediate_size, &mut temp.product);
        self.linear(l, Module::Down, &temp.product, t, adapters, &mut acts.xa, out);
        b.add(&acts.x_mid, out, t * c.hidden_size);
    }

    fn attend(&self, l: usize, attend: &mut Attend<'_, '_, B>, acts: &mut Acts<B>) {
        let (b, shape, kv_dim) = (&*self.backend, self.attention_shape(), self.config.kv_dim());
        match attend {
            Attend::Packed(segments) => {
                b.attention(&acts.q, &acts.k, &acts.v, segments, shape, &mut acts.att, &mut acts.lse);
            }
            Attend::Cached { caches, spans } => {
                for (cache, span) in caches.iter_mut().zip(*spans) {
                    b.copy_rows(&acts.k, span.start, span.n_new, kv_dim, &mut cache.k[l], span.past);
                    b.copy_rows(&acts.v, span.start, span.n_new, kv_dim, &mut cache.v[l], span.past);
                }
                let k: Vec<&B::Buf> = caches.iter().map(|cache| &cache.k[l]).collect();
                let v: Vec<&B::Buf> = caches.iter().map(|cache| &cache.v[l]).collect();
                b.attention_cached(&acts.q, &k, &v, spans, shape, &mut acts.att);
            }
        }
    }

    /// All blocks, keeping nothing. The residual after the last block is left in `f.hidden` `[T, C]`.
    pub(crate) fn blocks(
        &self,
        tokens: &[u32],
        positions: &[u32],
        adapters: &Adapters<'_, B>,
        attend: &mut Attend<'_, '_, B>,
        f: &mut Forward<B>,
    ) {
        self.backend.embed(&self.embed, tokens, &mut f.hidden);
        for l in 0..self.layers.len() {
            std::mem::swap(&mut f.hidden, &mut f.acts.x);
            self.block(l, positions, adapters, attend, &mut f.acts, &mut f.temp, &mut f.hidden);
        }
    }

    /// As [`Self::blocks`], leaving what the backward needs in `kept`, one entry per block.
    pub(crate) fn blocks_kept(
        &self,
        packed: &Packed,
        adapters: &Adapters<'_, B>,
        f: &mut Forward<B>,
        kept: &mut [Acts<B>],
    ) {
        let mut attend = Attend::Packed(&packed.segments);
        self.backend.embed(&self.embed, &packed.tokens, &mut kept[0].x);
        for l in 0..kept.len() {
            let (now, later) = kept.split_at_mut(l + 1);
            let out = later.first_mut().map_or(&mut f.hidden, |next| &mut next.x);
            self.block(l, &packed.positions, adapters, &mut attend, &mut now[l], &mut f.temp, out);
        }
    }

    /// Final norm of chosen rows of `f.hidden`: `f.gathered` and `f.temp.normed` become `[n, C]`.
    pub(crate) fn gather_normed(&self, rows: &[u32], f: &mut Forward<B>) {
        let (b, c) = (&*self.backend, &self.config);
        b.gather_rows(&f.hidden, rows, c.hidden_size, &mut f.gathered);
        b.rmsnorm(&f.gathered, &self.norm, c.rms_norm_eps, rows.len(), &mut f.temp.normed, &mut f.temp.rstd);
    }

    /// Logits `[n, V]` of chosen rows of `f.hidden`.
    pub(crate) fn head_logits(&self, rows: &[u32], f: &mut Forward<B>) -> Vec<f32> {
        self.gather_normed(rows, f);
        let mut logits = self.backend.zeros(rows.len() * self.config.vocab_size);
        self.backend.linear(&f.temp.normed, rows.len(), self.head(), None, &[], None, &mut logits);
        self.backend.download(&logits)
    }

    /// Weighted loss of packed rows: sums of `weight * -log p(target)` and of the weights.
    pub fn loss(
        &self,
        lora: Option<&Lora<B>>,
        packed: &Packed,
        workspace: &mut Workspace<B>,
    ) -> Result<LossSums> {
        self.check_call(lora, packed)?;
        let (rows, targets, weights) = packed.trained();
        if rows.is_empty() {
            return Ok(LossSums::default());
        }
        let adapters = Adapters::whole(lora, packed.len());
        let f = workspace.forward(self, packed.len());
        self.blocks(&packed.tokens, &packed.positions, &adapters, &mut Attend::Packed(&packed.segments), f);
        self.gather_normed(&rows, f);
        Ok(self.backend.cross_entropy(&f.temp.normed, self.head(), &targets, &weights, 1.0, None))
    }

    /// Logits `[n, V]` of chosen packed rows (any order, repeats allowed), row-major f32.
    pub fn logits(
        &self,
        lora: Option<&Lora<B>>,
        packed: &Packed,
        rows: &[u32],
        workspace: &mut Workspace<B>,
    ) -> Result<Vec<f32>> {
        self.check_call(lora, packed)?;
        if let Some(row) = rows.iter().find(|&&row| row as usize >= packed.len()) {
            return Err(Error::Input(format!("logits of row {row} of {} rows", packed.len())));
        }
        let adapters = Adapters::whole(lora, packed.len());
        let f = workspace.forward(self, packed.len().max(rows.len()));
        self.blocks(&packed.tokens, &packed.positions, &adapters, &mut Attend::Packed(&packed.segments), f);
        Ok(self.head_logits(rows, f))
    }

    pub(crate) fn check_call(&self, lora: Option<&Lora<B>>, packed: &Packed) -> Result<()> {
        packed.check(&self.config)?;
        lora.map_or(Ok(()), |lora| lora.check_fits(self))
    }
}

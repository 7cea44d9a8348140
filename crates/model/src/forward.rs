//! The forward pass, the loss and logits.

use hearth_kernels::backend::{Backend, CachedSpan, Columns, Linear, LossSums, Segment};

use crate::config::{Group, Module};
use crate::decode::KvCache;
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::lora::{Adapters, Lora};
use crate::packed::Packed;
use crate::workspace::{Acts, Forward, Kept, Normed, Temp, Workspace};

/// What the queries of a call see.
pub(crate) enum Attend<'a, 'c, B: Backend> {
    /// The shared rows of their segment, and its earlier own ones.
    Packed(&'a [Segment]),
    /// Nothing: attention's output is there from an earlier run.
    Done,
    /// The cache of their sequence; `spans[i]` belongs to `caches[i]`.
    Cached { caches: &'a mut [&'c mut KvCache<B>], spans: &'a [CachedSpan] },
}

/// Which of a block's activations its forward leaves for a backward.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    /// Those of [`Rest`](crate::workspace::Rest).
    Rest,
    All,
}

/// What every block of a call is given.
pub(crate) struct Call<'a, B: Backend> {
    /// Position of each token row, `[T]`.
    pub(crate) positions: &'a [u32],
    pub(crate) adapters: &'a Adapters<'a, B>,
}

/// Where a norm leaves its input and `rstd`: `rstd` in `temp` if nothing is kept.
fn split<'a, B: Backend>(
    kept: Option<&'a mut Normed<B>>,
    temp: &'a mut B::Buf,
) -> (Option<&'a mut B::Buf>, &'a mut B::Buf) {
    match kept {
        Some(Normed { x, rstd }) => (Some(x), rstd),
        None => (None, temp),
    }
}

impl<B: Backend> Decoder<B> {
    /// The linears of a group with their biases and adapters.
    pub(crate) fn linears<'a>(
        &'a self,
        l: usize,
        group: Group,
        adapters: &Adapters<'a, B>,
    ) -> Vec<Linear<'a, B::Buf, B::Weight>> {
        let layer = &self.layers[l];
        let linear = |&m: &Module| Linear {
            weight: layer.weight(m),
            bias: layer.bias[m as usize].as_ref(),
            spans: adapters.spans(l, m),
        };
        self.config.modules(group).iter().map(linear).collect()
    }

    /// One block: takes the residual stream `hidden` `[T, C]` from its input to its output and fills `acts`; what only
    /// a backward reads as `keep` says.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    pub(crate) fn block(
        &self,
        l: usize,
        call: &Call<'_, B>,
        attend: &mut Attend<'_, '_, B>,
        acts: &mut Acts<B>,
        temp: &mut Temp<B>,
        hidden: &mut B::Buf,
        keep: Keep,
    ) {
        self.block_to_gate(l, call, attend, acts, temp, hidden, keep == Keep::All);
        let (c, t) = (&self.config, call.positions.len());
        let Temp { input, branch, rstd, .. } = temp;
        self.backend.glu(c.activation, &acts.gate, &acts.up, t * c.intermediate_size, input);
        let rest = keep != Keep::Nothing;
        let xa = acts.xa[Group::Down as usize].as_mut().filter(|_| rest);
        let kept = acts.post[1].as_mut().filter(|_| rest);
        self.add_branch(l, Group::Down, call, input, xa, kept, branch.as_mut(), rstd, hidden);
    }

    /// The last linear of a half, from `x` `[T, K]`, added to `hidden` `[T, C]`: through a norm of its own where
    /// the model has one.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    fn add_branch(
        &self,
        l: usize,
        group: Group,
        call: &Call<'_, B>,
        x: &B::Buf,
        xa: Option<&mut B::Buf>,
        kept: Option<&mut Normed<B>>,
        branch: Option<&mut [B::Buf; 2]>,
        rstd: &mut B::Buf,
        hidden: &mut B::Buf,
    ) {
        let (b, c, t) = (&*self.backend, &self.config, call.positions.len());
        let linears = self.linears(l, group, call.adapters);
        let (Some([out, normed]), Some(norm)) = (branch, self.layers[l].post_norm(group)) else {
            return b.linear(x, t, &linears, xa, true, &mut [hidden]);
        };
        b.linear(x, t, &linears, xa, false, &mut [out]);
        let (kept, rstd) = split(kept, rstd);
        b.rmsnorm(out, norm, c.rms_norm_eps, t, normed, rstd, kept);
        b.add(normed, hidden, t * c.hidden_size);
    }

    /// Linears of one input, each to its own buffer; `fused` takes the output of linears that are stored as one.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    fn split_linears(
        &self,
        l: usize,
        group: Group,
        call: &Call<'_, B>,
        x: &B::Buf,
        xa: Option<&mut B::Buf>,
        fused: Option<&mut B::Buf>,
        outs: &mut [&mut B::Buf],
    ) {
        let (b, t) = (&*self.backend, call.positions.len());
        let linears = self.linears(l, group, call.adapters);
        let Some(fused) = fused else { return b.linear(x, t, &linears, xa, false, outs) };
        b.linear(x, t, &linears, xa, false, &mut [fused]);
        let parts = self.config.parts(group);
        let row = parts.iter().sum();
        let mut start = 0;
        for (out, width) in outs.iter_mut().zip(parts) {
            b.copy_columns(fused, Columns { row, start }, t, width, out, Columns { row: width, start: 0 });
            start += width;
        }
    }

    /// A block up to gate and up; `hidden` ends between attention and MLP. What only a backward reads is left in `acts`
    /// if `keep`.
    #[allow(clippy::too_many_arguments, reason = "the parts of a call, each used once")]
    pub(crate) fn block_to_gate(
        &self,
        l: usize,
        call: &Call<'_, B>,
        attend: &mut Attend<'_, '_, B>,
        acts: &mut Acts<B>,
        temp: &mut Temp<B>,
        hidden: &mut B::Buf,
        keep: bool,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[l], call.positions.len());
        let Temp { input, rstd, q, k, heads, fused, branch } = temp;
        let kept = keep.then_some(&mut acts.x);
        b.rmsnorm(hidden, &layer.attn_norm, c.rms_norm_eps, t, input, rstd, kept);
        let xa = acts.xa[Group::Qkv as usize].as_mut().filter(|_| keep);
        let mut outs = [&mut *q, &mut *k, &mut acts.v];
        self.split_linears(l, Group::Qkv, call, input, xa, fused.as_mut(), &mut outs);
        let widths = [c.num_attention_heads, c.num_key_value_heads];
        let outs = [&mut acts.q, &mut acts.k];
        for (i, ((x, n), out)) in [q, k].into_iter().zip(widths).zip(outs).enumerate() {
            match (&layer.qk_norm, heads.as_mut()) {
                (Some(norms), Some(heads)) => {
                    let (kept, rstd) = split(acts.heads[i].as_mut().filter(|_| keep), &mut *rstd);
                    b.rmsnorm(x, &norms[i], c.rms_norm_eps, t * n, heads, rstd, kept);
                    self.rotate(l, heads, call.positions, n, false, out);
                }
                _ => self.rotate(l, x, call.positions, n, false, out),
            }
        }
        self.attend(l, attend, acts);
        let xa = acts.xa[Group::O as usize].as_mut().filter(|_| keep);
        let kept = acts.post[0].as_mut().filter(|_| keep);
        self.add_branch(l, Group::O, call, &acts.att, xa, kept, branch.as_mut(), rstd, hidden);
        let kept = keep.then_some(&mut acts.x_mid);
        b.rmsnorm(hidden, &layer.mlp_norm, c.rms_norm_eps, t, input, rstd, kept);
        let xa = acts.xa[Group::GateUp as usize].as_mut().filter(|_| keep);
        let outs = &mut [&mut acts.gate, &mut acts.up];
        self.split_linears(l, Group::GateUp, call, input, xa, fused.as_mut(), outs);
    }

    /// Rotary embedding of `n` heads, or a copy in blocks without one.
    pub(crate) fn rotate(
        &self,
        l: usize,
        x: &B::Buf,
        positions: &[u32],
        n: usize,
        inverse: bool,
        out: &mut B::Buf,
    ) {
        let (b, head_dim) = (&*self.backend, self.config.head_dim);
        match self.inv_freq(l) {
            Some(inv_freq) => b.rope(x, positions, n, head_dim, inv_freq, inverse, out),
            None => b.copy_rows(x, 0, positions.len(), n * head_dim, out, 0),
        }
    }

    fn attend(&self, l: usize, attend: &mut Attend<'_, '_, B>, acts: &mut Acts<B>) {
        let (b, shape, kv_dim) = (&*self.backend, self.attention_shape(l), self.config.kv_dim());
        match attend {
            Attend::Packed(segments) => {
                b.attention(&acts.q, &acts.k, &acts.v, segments, shape, &mut acts.att, &mut acts.lse);
            }
            Attend::Done => {}
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
        call: &Call<'_, B>,
        attend: &mut Attend<'_, '_, B>,
        f: &mut Forward<B>,
    ) {
        self.backend.embed(&self.embed, tokens, self.config.embed_scale, &mut f.hidden);
        for l in 0..self.layers.len() {
            self.block(l, call, attend, &mut f.acts, &mut f.temp, &mut f.hidden, Keep::Nothing);
        }
    }

    /// As [`Self::blocks`], leaving what the backward needs in `kept`, and for the last block in `f.acts`.
    pub(crate) fn blocks_kept(
        &self,
        packed: &Packed,
        call: &Call<'_, B>,
        f: &mut Forward<B>,
        kept: &mut [Kept<B>],
    ) {
        let mut attend = Attend::Packed(&packed.segments);
        self.backend.embed(&self.embed, &packed.tokens, self.config.embed_scale, &mut f.hidden);
        let Forward { acts: own, temp, hidden, .. } = f;
        for l in 0..self.layers.len() {
            match kept.get_mut(l) {
                Some(Kept::Acts(acts)) => self.block(l, call, &mut attend, acts, temp, hidden, Keep::All),
                Some(Kept::Input { x, rest }) => {
                    self.backend.copy_rows(hidden, 0, packed.len(), self.config.hidden_size, x, 0);
                    rest.swap(own);
                    self.block(l, call, &mut attend, own, temp, hidden, Keep::Rest);
                    rest.swap(own);
                }
                None => self.block(l, call, &mut attend, own, temp, hidden, Keep::All),
            }
        }
    }

    /// Chosen rows of `f.hidden`, `[n, C]`, in `f.temp.q`, and their final norm in `f.temp.input`.
    pub(crate) fn gather_normed(&self, rows: &[u32], f: &mut Forward<B>) {
        let (b, c) = (&*self.backend, &self.config);
        let Temp { input, rstd, q: gathered, .. } = &mut f.temp;
        b.gather_rows(&f.hidden, rows, c.hidden_size, gathered);
        b.rmsnorm(gathered, &self.norm, c.rms_norm_eps, rows.len(), input, rstd, None);
    }

    /// Logits `[n, V]` of chosen rows of `f.hidden`.
    pub(crate) fn head_logits(&self, rows: &[u32], f: &mut Forward<B>) -> Vec<f32> {
        self.gather_normed(rows, f);
        let mut logits = self.backend.zeros(rows.len() * self.config.vocab_size);
        let head = [Linear { weight: self.head(), bias: None, spans: Vec::new() }];
        self.backend.linear(&f.temp.input, rows.len(), &head, None, false, &mut [&mut logits]);
        let mut logits = self.backend.download(&logits);
        if let Some(cap) = self.config.final_softcap {
            logits.iter_mut().for_each(|z| *z = cap * (*z / cap).tanh());
        }
        logits
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
        let call = Call { positions: &packed.positions, adapters: &adapters };
        self.blocks(&packed.tokens, &call, &mut Attend::Packed(&packed.segments), f);
        self.gather_normed(&rows, f);
        let (normed, cap) = (&f.temp.input, self.config.final_softcap);
        Ok(self.backend.cross_entropy(normed, self.head(), &targets, &weights, 1.0, cap, None))
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
        let call = Call { positions: &packed.positions, adapters: &adapters };
        self.blocks(&packed.tokens, &call, &mut Attend::Packed(&packed.segments), f);
        Ok(self.head_logits(rows, f))
    }

    pub(crate) fn check_call(&self, lora: Option<&Lora<B>>, packed: &Packed) -> Result<()> {
        packed.check(&self.config)?;
        lora.map_or(Ok(()), |lora| lora.check_fits(self))
    }
}

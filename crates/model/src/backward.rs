//! The backward pass: gradients of an adapter, and of nothing else.
//!
//! Goes down from the head block by block and stops at the lowest adapted linear. Frozen weights take part
//! only in the gradient of their input.

use hearth_kernels::backend::{Backend, LossSums};

use crate::config::Module;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::lora::{Adapters, Lora, LoraGrads};
use crate::packed::Packed;
use crate::workspace::{Acts, Backward, Forward, Grads, Temp, Workspace};

/// What every part of a block's backward is given.
struct At<'a, B: Backend> {
    /// Number of the block.
    l: usize,
    /// Token rows.
    t: usize,
    lora: &'a Lora<B>,
    packed: &'a Packed,
}

impl<B: Backend> Decoder<B> {
    /// Forward and backward over packed rows. Returns the loss sums and accumulates
    /// `scale * d(sum of weighted losses)/d(parameter)` into `grads` (the caller clears them).
    ///
    /// The sum is not divided here: with `scale` the reciprocal of the weights of a whole optimiser step,
    /// any split into micro-batches gives the same gradient.
    pub fn loss_and_grads(
        &self,
        lora: &Lora<B>,
        packed: &Packed,
        scale: f32,
        grads: &mut LoraGrads<B>,
        workspace: &mut Workspace<B>,
    ) -> Result<LossSums> {
        self.check_call(Some(lora), packed)?;
        assert!(lora.tensors().same_layout(grads), "gradients of another adapter");
        let (rows, targets, weights) = packed.trained();
        if rows.is_empty() {
            return Ok(LossSums::default());
        }
        let adapters = Adapters::whole(Some(lora), packed.len());
        let (f, back) = workspace.both(self, packed.len(), lora);
        self.blocks_kept(packed, &adapters, f, &mut back.kept);
        self.gather_normed(&rows, f);
        let (b, d) = (&*self.backend, &mut back.grads);
        let head = self.head();
        let sums = b.cross_entropy(&f.temp.normed, head, &targets, &weights, scale, Some(&mut d.normed));
        self.head_backward(&rows, f, d);
        self.blocks_backward(lora, packed, f, back, grads);
        Ok(sums)
    }

    /// From `d.normed` `[n, C]`, the gradient of the final norm's output, to `d.x` `[T, C]`.
    fn head_backward(&self, rows: &[u32], f: &Forward<B>, d: &mut Grads<B>) {
        let b = &*self.backend;
        b.clear(&mut d.gathered);
        b.rmsnorm_backward(&d.normed, &f.gathered, &self.norm, &f.temp.rstd, rows.len(), &mut d.gathered);
        b.clear(&mut d.x);
        b.scatter_add_rows(&d.gathered, rows, self.config.hidden_size, &mut d.x);
    }

    fn blocks_backward(
        &self,
        lora: &Lora<B>,
        packed: &Packed,
        f: &mut Forward<B>,
        back: &mut Backward<B>,
        grads: &mut LoraGrads<B>,
    ) {
        for l in (0..self.layers.len()).rev() {
            let at = At { l, t: packed.len(), lora, packed };
            let acts = &back.kept[l];
            // Every block is adapted alike, so only under the first block nothing is left to do.
            let attention_inputs = l > 0 || [Module::Q, Module::K, Module::V].iter().any(|&m| lora.adapts(m));
            let attention = attention_inputs || lora.adapts(Module::O);
            self.mlp_backward(&at, attention, acts, &mut f.temp, &mut back.grads, grads);
            if attention {
                self.attention_half_backward(
                    &at,
                    attention_inputs,
                    acts,
                    &mut f.temp,
                    &mut back.grads,
                    grads,
                );
            }
        }
    }

    /// MLP half. `d.x` is the gradient of the block's output before and of `x_mid` after;
    /// the latter only if `below`.
    fn mlp_backward(
        &self,
        at: &At<'_, B>,
        below: bool,
        acts: &Acts<B>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[at.l], at.t);
        let n = t * c.intermediate_size;
        if at.lora.adapts(Module::Down) {
            b.swiglu(&acts.gate, &acts.up, n, &mut temp.product);
            self.lora_backward(at, Module::Down, &d.x, &temp.product, acts, grads);
        }
        let gate_or_up = at.lora.adapts(Module::Gate) || at.lora.adapts(Module::Up);
        if !(below || gate_or_up) {
            return;
        }
        b.clear(&mut d.product);
        self.input_backward(at, Module::Down, &d.x, &mut d.product);
        b.swiglu_backward(&d.product, &acts.gate, &acts.up, n, &mut d.gate, &mut d.up);
        b.rmsnorm(&acts.x_mid, &layer.mlp_norm, c.rms_norm_eps, t, &mut temp.normed, &mut temp.rstd);
        self.lora_backward(at, Module::Gate, &d.gate, &temp.normed, acts, grads);
        self.lora_backward(at, Module::Up, &d.up, &temp.normed, acts, grads);
        if below {
            b.clear(&mut d.normed);
            self.input_backward(at, Module::Gate, &d.gate, &mut d.normed);
            self.input_backward(at, Module::Up, &d.up, &mut d.normed);
            b.rmsnorm_backward(&d.normed, &acts.x_mid, &layer.mlp_norm, &temp.rstd, t, &mut d.x);
        }
    }

    /// Attention half. `d.x` is the gradient of `x_mid` before and of the block's input after;
    /// the latter only above the first block.
    fn attention_half_backward(
        &self,
        at: &At<'_, B>,
        inputs: bool,
        acts: &Acts<B>,
        temp: &mut Temp<B>,
        d: &mut Grads<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let (b, c, layer, t) = (&*self.backend, &self.config, &self.layers[at.l], at.t);
        self.lora_backward(at, Module::O, &d.x, &acts.att, acts, grads);
        if !inputs {
            return;
        }
        b.clear(&mut d.att);
        self.input_backward(at, Module::O, &d.x, &mut d.att);
        b.attention_backward(
            &d.att,
            &acts.q,
            &acts.k,
            &acts.v,
            &acts.att,
            &acts.lse,
            &at.packed.segments,
            self.attention_shape(),
            &mut d.q,
            &mut d.k,
            &mut d.v,
        );
        let positions = &at.packed.positions;
        b.rope(&mut d.q, positions, c.num_attention_heads, c.head_dim, &self.inv_freq, true);
        b.rope(&mut d.k, positions, c.num_key_value_heads, c.head_dim, &self.inv_freq, true);
        b.rmsnorm(&acts.x, &layer.attn_norm, c.rms_norm_eps, t, &mut temp.normed, &mut temp.rstd);
        self.lora_backward(at, Module::Q, &d.q, &temp.normed, acts, grads);
        self.lora_backward(at, Module::K, &d.k, &temp.normed, acts, grads);
        self.lora_backward(at, Module::V, &d.v, &temp.normed, acts, grads);
        if at.l > 0 {
            b.clear(&mut d.normed);
            self.input_backward(at, Module::Q, &d.q, &mut d.normed);
            self.input_backward(at, Module::K, &d.k, &mut d.normed);
            self.input_backward(at, Module::V, &d.v, &mut d.normed);
            b.rmsnorm_backward(&d.normed, &acts.x, &layer.attn_norm, &temp.rstd, t, &mut d.x);
        }
    }

    /// Accumulates the adapter's gradient of one linear, if it is adapted. `dout` `[T, N]`, `x` `[T, K]`.
    fn lora_backward(
        &self,
        at: &At<'_, B>,
        m: Module,
        dout: &B::Buf,
        x: &B::Buf,
        acts: &Acts<B>,
        grads: &mut LoraGrads<B>,
    ) {
        let Some(span) = at.lora.span(at.l, m, 0..at.t) else { return };
        let (Some((da, db)), Some(xa)) = (grads.pair_mut(at.l, m), acts.xa[m as usize].as_ref()) else {
            unreachable!("gradients and kept activations have the adapter's layout")
        };
        self.backend.linear_backward_lora(dout, at.t, x, xa, &span, da, db);
    }

    /// Accumulates the gradient of one linear's input. `dout` `[T, N]`, `dx` `[T, K]`.
    fn input_backward(&self, at: &At<'_, B>, m: Module, dout: &B::Buf, dx: &mut B::Buf) {
        let span = at.lora.span(at.l, m, 0..at.t);
        self.backend.linear_backward_input(
            dout,
            at.t,
            &self.layers[at.l].linear[m as usize],
            span.as_ref(),
            dx,
        );
    }
}

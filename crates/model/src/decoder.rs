//! A loaded base model.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_kernels::backend::{AttentionShape, Backend};

use crate::config::{Group, ModelConfig, Module};
use crate::error::Result;
use crate::rope::{Rope, RopeScaling};
use crate::weights::{Loader, Name};

/// One decoder block's frozen weights.
pub(crate) struct Layer<B: Backend> {
    /// `[C]`.
    pub(crate) attn_norm: B::Buf,
    /// `[C]`.
    pub(crate) mlp_norm: B::Buf,
    /// Of the heads of q and k, each `[head_dim]`.
    pub(crate) qk_norm: Option<[B::Buf; 2]>,
    /// Of the outputs of attention and of the MLP, each `[C]`.
    pub(crate) post_norm: Option<[B::Buf; 2]>,
    /// By [`Module`], each `[N, K]`; those of the configuration.
    pub(crate) linear: [Option<B::Weight>; Module::COUNT],
    /// By [`Module`], each `[N]`.
    pub(crate) bias: [Option<B::Buf>; Module::COUNT],
}

impl<B: Backend> Layer<B> {
    /// A linear of the configuration.
    pub(crate) fn weight(&self, module: Module) -> &B::Weight {
        self.linear[module as usize].as_ref().unwrap_or_else(|| unreachable!("loaded with the block"))
    }

    /// The norm of a group's output, where it has one.
    pub(crate) fn post_norm(&self, group: Group) -> Option<&B::Buf> {
        let norms = self.post_norm.as_ref()?;
        match group {
            Group::O => Some(&norms[0]),
            Group::Down => Some(&norms[1]),
            Group::Qkv | Group::GateUp => None,
        }
    }
}

/// A frozen base model on a backend. Shared by everything that runs it.
pub struct Decoder<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) config: ModelConfig,
    /// Tells workspaces of different decoders apart.
    pub(crate) id: u64,
    /// `[V, C]`.
    pub(crate) embed: B::Weight,
    /// `[V, C]`, absent when the head is the embedding table.
    head: Option<B::Weight>,
    /// `[C]`.
    pub(crate) norm: B::Buf,
    pub(crate) layers: Vec<Layer<B>>,
    /// One `[head_dim / 2]` per rotary embedding of the configuration.
    pub(crate) inv_freq: Vec<Vec<f32>>,
}

impl<B: Backend> Decoder<B> {
    /// Loads `config.json` and the weights of a model directory. Weights stay mapped from their file.
    ///
    /// Errors name the field or tensor that is missing, malformed, of the wrong shape or not supported.
    pub fn load(backend: Arc<B>, model_dir: &Path) -> Result<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let config = ModelConfig::read(model_dir)?;
        let mut loader = Loader::open(model_dir, &config)?;
        let (v, c) = (config.vocab_size, config.hidden_size);
        let embed = backend.weight(loader.matrix(Name::Embed, v, c)?);
        let head = match config.tie_word_embeddings {
            true => None,
            false => Some(backend.weight(loader.matrix(Name::Head, v, c)?)),
        };
        let norm = backend.upload(&loader.vector(Name::Norm, c)?);
        let mut layers = Vec::new();
        for l in 0..config.num_hidden_layers {
            layers.push(load_layer(&*backend, &config, &mut loader, l)?);
        }
        let mut inv_freq: Vec<Vec<f32>> =
            config.ropes.iter().map(|rope| rope.inv_freq(config.head_dim)).collect();
        if let Some(factors) = loader.rope_factors()? {
            // A file that carries divisors of its own has the scaling in them already.
            let plain = Rope { scaling: RopeScaling::Default, ..config.ropes[0] }.inv_freq(config.head_dim);
            inv_freq[0] = plain.iter().zip(factors).map(|(freq, factor)| freq / factor).collect();
        }
        loader.finish()?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { backend, id, embed, head, norm, layers, inv_freq, config })
    }

    /// The architecture's numbers.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The backend that the weights live on.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// The output head `[V, C]`.
    pub(crate) fn head(&self) -> &B::Weight {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// The frequencies that rotate q and k of a block, if any do.
    pub(crate) fn inv_freq(&self, l: usize) -> Option<&[f32]> {
        self.config.layers[l].rope.map(|rope| self.inv_freq[rope].as_slice())
    }

    pub(crate) fn attention_shape(&self, l: usize) -> AttentionShape {
        AttentionShape {
            n_heads: self.config.num_attention_heads,
            n_kv_heads: self.config.num_key_value_heads,
            head_dim: self.config.head_dim,
            scale: self.config.attention_scale,
            window: self.config.layers[l].window,
            softcap: self.config.attention_softcap,
        }
    }
}

fn load_layer<B: Backend>(
    backend: &B,
    config: &ModelConfig,
    loader: &mut Loader<'_>,
    l: usize,
) -> Result<Layer<B>> {
    let c = config.hidden_size;
    let mut norm = |name, len| Ok(backend.upload(&loader.vector(name, len)?));
    let attn_norm = norm(Name::AttnNorm(l), c)?;
    let mlp_norm = norm(Name::MlpNorm(l), c)?;
    let qk_norm = match config.qk_norm {
        true => Some([norm(Name::QNorm(l), config.head_dim)?, norm(Name::KNorm(l), config.head_dim)?]),
        false => None,
    };
    let post_norm = match config.sandwich_norms {
        true => Some([norm(Name::PostAttnNorm(l), c)?, norm(Name::PostMlpNorm(l), c)?]),
        false => None,
    };
    let mut linear = [const { None }; Module::COUNT];
    let mut bias = [const { None }; Module::COUNT];
    for &m in config.linears() {
        let (n, k) = config.shape(m);
        linear[m as usize] = Some(backend.weight(loader.matrix(Name::Weight(l, m), n, k)?));
        if config.bias[m as usize] {
            bias[m as usize] = Some(backend.upload(&loader.vector(Name::Bias(l, m), n)?));
        }
    }
    Ok(Layer { attn_norm, mlp_norm, qk_norm, post_norm, linear, bias })
}

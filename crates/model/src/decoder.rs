//! A loaded base model.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_kernels::backend::{AttentionShape, Backend};

use crate::config::{ModelConfig, Module};
use crate::error::Result;
use crate::rope;
use crate::weights::{Loader, Name};

/// One decoder block's frozen weights.
pub(crate) struct Layer<B: Backend> {
    /// `[C]`.
    pub(crate) attn_norm: B::Buf,
    /// `[C]`.
    pub(crate) mlp_norm: B::Buf,
    /// By [`Module`], each `[N, K]`.
    pub(crate) linear: [B::Weight; 7],
    /// By [`Module`], each `[N]`.
    pub(crate) bias: [Option<B::Buf>; 7],
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
    /// `[head_dim / 2]`.
    pub(crate) inv_freq: Vec<f32>,
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
        // A file that carries divisors of its own has the scaling in them already.
        let inv_freq = match loader.rope_factors()? {
            None => rope::inv_freq(config.head_dim, config.rope_theta, config.rope_scaling),
            Some(factors) => {
                let plain = rope::inv_freq(config.head_dim, config.rope_theta, rope::RopeScaling::Default);
                plain.iter().zip(factors).map(|(freq, factor)| freq / factor).collect()
            }
        };
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

    pub(crate) fn attention_shape(&self) -> AttentionShape {
        AttentionShape {
            n_heads: self.config.num_attention_heads,
            n_kv_heads: self.config.num_key_value_heads,
            head_dim: self.config.head_dim,
            scale: (1.0 / (self.config.head_dim as f64).sqrt()) as f32,
            window: None,
            softcap: None,
        }
    }
}

fn load_layer<B: Backend>(
    backend: &B,
    config: &ModelConfig,
    loader: &mut Loader<'_>,
    l: usize,
) -> Result<Layer<B>> {
    let attn_norm = loader.vector(Name::AttnNorm(l), config.hidden_size)?;
    let mlp_norm = loader.vector(Name::MlpNorm(l), config.hidden_size)?;
    let mut matrix = |m: Module| {
        let (n, k) = config.shape(m);
        Ok(backend.weight(loader.matrix(Name::Weight(l, m), n, k)?))
    };
    let linear = [
        matrix(Module::Q)?,
        matrix(Module::K)?,
        matrix(Module::V)?,
        matrix(Module::O)?,
        matrix(Module::Gate)?,
        matrix(Module::Up)?,
        matrix(Module::Down)?,
    ];
    let mut bias: [Option<B::Buf>; 7] = [const { None }; 7];
    for m in Module::ALL {
        if config.bias[m as usize] {
            bias[m as usize] = Some(backend.upload(&loader.vector(Name::Bias(l, m), config.shape(m).0)?));
        }
    }
    Ok(Layer { attn_norm: backend.upload(&attn_norm), mlp_norm: backend.upload(&mlp_norm), linear, bias })
}

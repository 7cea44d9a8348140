//! Parsing of `config.json`.

#![no_main]

use hearth_fuzz::refused;
use hearth_model::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(json) = serde_json::from_slice(input) else { return };
    match ModelConfig::parse(&json) {
        Err(error) => refused(error),
        Ok(config) => {
            assert_eq!(config.layers.len(), config.num_hidden_layers);
            assert!(
                config.layers.iter().all(|layer| layer.rope.is_none_or(|rope| rope < config.ropes.len()))
            );
            assert!(config.parameter_count() > 0);
            for &module in config.linears() {
                let (n, k) = config.shape(module);
                assert!(n > 0 && k > 0);
            }
            let numbers = [config.rms_norm_eps, config.attention_scale, config.embed_scale];
            let caps = [config.attention_softcap, config.final_softcap];
            for number in numbers.into_iter().chain(caps.into_iter().flatten()) {
                assert!(number.is_finite() && number > 0.0, "{config:?}");
            }
        }
    }
});

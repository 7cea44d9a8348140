//! A model directory as a whole. An input is `config.json` and the weights, of either form.

#![no_main]

use std::sync::LazyLock;

use hearth_fuzz::{directory, load, parts, write};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static GGUF: LazyLock<TempDir> = LazyLock::new(directory);
static SAFETENSORS: LazyLock<TempDir> = LazyLock::new(directory);

fuzz_target!(|input: &[u8]| {
    let parts = parts(input);
    let [config, weights] = parts[..] else { return };
    let (dir, name) = match weights.starts_with(b"GGUF") {
        true => (&*GGUF, "model.gguf"),
        false => (&*SAFETENSORS, "model.safetensors"),
    };
    write(dir, "config.json", config);
    write(dir, name, weights);
    load(dir);
});

//! The reader of safetensors files. An input is an index and two shards; with an empty index, the first shard is
//! the whole model.

#![no_main]

use std::sync::LazyLock;

use hearth_fuzz::common::Tiny;
use hearth_fuzz::{directory, load, parts, write};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static SINGLE: LazyLock<TempDir> = LazyLock::new(with_config);
static SHARDED: LazyLock<TempDir> = LazyLock::new(with_config);

fn with_config() -> TempDir {
    let dir = directory();
    write(&dir, "config.json", Tiny { tied: false, bias: true }.config().to_string().as_bytes());
    dir
}

fuzz_target!(|input: &[u8]| {
    let parts = parts(input);
    let part = |i: usize| parts.get(i).copied().unwrap_or_default();
    if part(0).is_empty() {
        write(&SINGLE, "model.safetensors", part(1));
        load(&SINGLE);
    } else {
        write(&SHARDED, "model.safetensors.index.json", part(0));
        write(&SHARDED, "1.safetensors", part(1));
        write(&SHARDED, "2.safetensors", part(2));
        load(&SHARDED);
    }
});

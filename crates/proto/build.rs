//! Compiles `proto/` with protox (no protoc needed) into prost types, tonic stubs and an embedded descriptor set.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("gateway/gateway.proto")?;

    // protox's own encoding keeps the google.api.http options, which prost's types would drop.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .btree_map(".")
        // These hold secrets; `src/redacted.rs` prints them.
        .skip_debug([
            "gateway.Secret",
            "gateway.ApiKey",
            "gateway.WandbConfig",
            "gateway.AwsS3ModelSource",
            "gateway.Webhook",
        ])
        .include_file("mod.rs")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

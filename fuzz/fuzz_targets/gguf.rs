//! The reader of GGUF files, and what is made of their metadata.

#![no_main]

use std::sync::Arc;

use hearth_fuzz::refused;
use hearth_model::gguf::Gguf;
use hearth_model::{ModelConfig, convert};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let file = match Gguf::from_bytes(Arc::new(input.to_vec())) {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    let mut size = 0;
    for name in file.tensors().keys() {
        match file.matrix(name) {
            Ok(matrix) => {
                assert!(!matrix.bytes().is_empty());
                size += matrix.bytes().len();
            }
            Err(error) => refused(error),
        }
    }
    assert!(size < input.len(), "tensors share bytes");
    match convert::from_gguf(&file) {
        Ok(converted) => {
            if let Err(error) = ModelConfig::parse(&converted.config) {
                refused(error);
            }
        }
        Err(error) => refused(error),
    }
});

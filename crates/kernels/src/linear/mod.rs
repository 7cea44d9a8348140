//! Linear layers with LoRA: forward, gradient of the input, gradient of the adapter.

pub mod reference;

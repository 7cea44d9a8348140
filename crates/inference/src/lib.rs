//! hearth-inference

//! hearth-kernels

pub mod backend;
pub mod weight;

//! Tests of whole models, in one binary.

mod common;
mod cpu;
mod files;
mod golden;
mod whole_model;

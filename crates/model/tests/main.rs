//! Tests of whole models, in one binary.

mod common;
mod cpu;
mod families;
mod files;
mod golden;
mod whole_model;

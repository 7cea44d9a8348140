//! Checks and set-up for developers.
fn main() {}

//! Causal attention over packed segments and over caches.

pub mod reference;

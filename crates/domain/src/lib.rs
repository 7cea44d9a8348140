//! hearth-domain

//! Checks of datasets.

pub(super) mod create;
pub(super) mod get;

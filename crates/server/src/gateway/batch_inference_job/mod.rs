//! Batch inference jobs.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;

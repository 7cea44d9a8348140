//! Deployments.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod scale;
pub(super) mod undelete;
pub(super) mod update;

//! Work that a call began.

pub(super) mod get;

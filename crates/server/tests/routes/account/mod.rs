//! Accounts.

mod create;
mod get;
mod list;
mod suspend;

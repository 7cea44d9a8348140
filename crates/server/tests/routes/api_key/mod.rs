//! API keys.

mod create;
mod delete;
mod list;

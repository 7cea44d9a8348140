//! Models.

mod delete;
mod download_endpoint;
mod get;
mod list;

//! Models.

mod create;
mod delete;
mod download_endpoint;
mod get;
mod list;
mod prepare;
mod update;
mod upload;
mod validate_upload;

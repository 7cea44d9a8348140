//! Datasets.

mod create;
mod delete;
mod download_endpoint;
mod get;
mod list;
mod upload;
mod upload_endpoint;
mod validate_upload;

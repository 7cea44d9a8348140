//! Models.

mod create;
mod delete;
mod download_endpoint;
mod fake_s3;
mod find_by_row;
mod get;
mod import;
mod list;
mod prepare;
mod update;
mod upload;
mod validate_upload;

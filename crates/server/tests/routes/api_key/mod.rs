//! API keys.

mod create;

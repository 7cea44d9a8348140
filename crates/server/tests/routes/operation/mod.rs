//! What an operator relies on: health, metrics, the log, limits of keys, and an orderly end.

mod health;
mod log;
mod metrics;
mod rates;
mod shutdown;

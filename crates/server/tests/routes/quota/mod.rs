//! Quotas.

mod enforced;
mod get;
mod list;

const QUOTAS: &str = "/v1/accounts/default/quotas";

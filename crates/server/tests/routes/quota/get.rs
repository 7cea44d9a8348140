//! `GET /v1/accounts/{account}/quotas/{quota}`.

use hearth_domain::{AccountId, QuotaKind};
use serde_json::json;

use super::QUOTAS;
use crate::server::Server;

#[test]
fn a_quota_says_what_is_allowed_and_used() {
    let server = Server::start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.quotas.set(None, QuotaKind::Secrets, 7);
        config.limits.quotas.set(Some(AccountId::new("acme").unwrap()), QuotaKind::Secrets, 9);
    });
    let acme = server.account("acme");
    let secret = json!({"name": "s", "keyName": "K", "value": "v"});
    server.post("/v1/accounts/default/secrets", &secret).ok();
    let path = format!("{QUOTAS}/secrets");
    assert_eq!(
        server.get(&path).ok(),
        json!({"name": "accounts/default/quotas/secrets", "value": "7", "maxValue": "7", "usage": 1.0})
    );
    server.delete("/v1/accounts/default/secrets/s").ok();
    assert_eq!(server.get(&format!("{path}?readMask=usage")).ok(), json!({"usage": 0.0}));
    let other = server.send_as(Some(&acme), "GET", "/v1/accounts/acme/quotas/secrets", b"").ok();
    assert_eq!((&other["value"], &other["usage"]), (&json!("9"), &json!(0.0)));
    let gpus = server.get(&format!("{QUOTAS}/gpus")).error();
    assert_eq!(gpus, (404, 5, "quota accounts/default/quotas/gpus does not exist".to_owned()));
    assert_eq!(server.get("/v1/accounts/nobody/quotas/secrets").error().1, 5);
}

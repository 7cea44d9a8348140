//! `CreateWebhook`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearth_domain::job::DISPLAY_NAME_MAX_CHARS;
use hearth_domain::secret::Sealed;
use hearth_domain::webhook::{WEBHOOK_URL_MAX_BYTES, job_event_types};
use hearth_domain::{Webhook, WebhookHealth, WebhookId};
use hearth_proto::gateway as pb;
use hearth_store::ListQuery;
use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use crate::error::ServerError;
use crate::gateway::{Call, names};
use crate::limits::WEBHOOKS_PER_ACCOUNT_MAX;
use crate::outgoing::{Reach, is_public};
use crate::webhooks::SECRET_PREFIX;

/// Random bytes of what a webhook signs with.
const SECRET_BYTES: usize = 32;

/// Makes a webhook. The reply has what it signs with; no other reply has.
pub(in crate::gateway) async fn webhook_create(
    call: &Call,
    request: pb::CreateWebhookRequest,
) -> Result<pb::Webhook, ServerError> {
    let account = names::account("parent", &request.parent)?;
    call.caller.may_change(&account)?;
    let id = match request.webhook_id.as_str() {
        "" => WebhookId::generate(rand::random()),
        id => WebhookId::new(id).map_err(|error| ServerError::field("webhookId", error.to_string()))?,
    };
    let given = request.webhook.ok_or_else(|| ServerError::field("webhook", "is required"))?;
    check_url(&given.url, call.state.webhook_reach())?;
    if given.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
        let what = format!("is longer than {DISPLAY_NAME_MAX_CHARS} characters");
        return Err(ServerError::field("webhook.displayName", what));
    }
    let known = job_event_types();
    if let Some(unknown) = given.event_types.iter().find(|wanted| !known.contains(wanted)) {
        let shown: String = unknown.chars().take(80).collect();
        let what = format!("there are no events of type {shown:?}; there are {}", known.join(", "));
        return Err(ServerError::field("webhook.eventTypes", what));
    }
    let mut event_types = given.event_types;
    event_types.sort();
    event_types.dedup();
    let now_ms = crate::now_ms();
    let webhook = Webhook {
        account: account.clone(),
        id,
        display_name: given.display_name,
        url: given.url,
        event_types,
        created_by: call.caller.email.clone(),
        // The store fills it in.
        sealed: Sealed { key_id: String::new(), nonce: String::new(), ciphertext: String::new() },
        health: WebhookHealth::default(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    let secret = STANDARD.encode(rand::random::<[u8; SECRET_BYTES]>());
    let secret = SecretString::from(format!("{SECRET_PREFIX}{secret}"));
    let store = call.state.store();
    let _lock = call.state.account_lock(&account).await;
    let there = store.list::<Webhook>(&account, &ListQuery { page_size: 1, ..ListQuery::default() }).await?;
    if there.total_size >= WEBHOOKS_PER_ACCOUNT_MAX as u64 {
        return Err(ServerError::ResourceExhausted(format!(
            "an account has at most {WEBHOOKS_PER_ACCOUNT_MAX} webhooks; delete one first"
        )));
    }
    let webhook = store.webhook_create(webhook, &secret).await?;
    Ok(pb::Webhook { signing_secret: secret.expose_secret().to_owned(), ..super::to_pb(&webhook) })
}

/// An address that can be sent to. One that is a name is looked up, and looked at again, with each delivery.
fn check_url(url: &str, reach: Reach) -> Result<(), ServerError> {
    let wrong = |what: &str| Err(ServerError::field("webhook.url", what));
    if url.is_empty() {
        return wrong("is required");
    }
    if url.len() > WEBHOOK_URL_MAX_BYTES {
        return wrong(&format!("is longer than {WEBHOOK_URL_MAX_BYTES} bytes"));
    }
    let Ok(parsed) = url.parse::<Uri>() else { return wrong("is not a URL") };
    if !matches!(parsed.scheme_str(), Some("https" | "http")) {
        return wrong("begins with neither https:// nor http://");
    }
    let Some(authority) = parsed.authority().filter(|authority| !authority.host().is_empty()) else {
        return wrong("names no host");
    };
    if authority.as_str().contains('@') {
        return wrong("holds a user or a password; check the signature of what is sent instead");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_other =
        host.parse().is_ok_and(|address| !is_public(address)) || host.eq_ignore_ascii_case("localhost");
    if reach == Reach::Public && is_other {
        return wrong(
            "is not on the public internet; the operator can allow others (hearth serve --webhook-allow-private)",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_be_sent_to() {
        let check = |url: &str, reach: Reach, part: &str| match check_url(url, reach) {
            Ok(()) => assert_eq!(part, "", "{url}"),
            Err(error) => assert!(!part.is_empty() && error.to_string().contains(part), "{url}: {error}"),
        };
        check("https://example.org/hook?a=b", Reach::Public, "");
        check("http://8.8.8.8:81/", Reach::Public, "");
        check("http://127.0.0.1:81/", Reach::Everywhere, "");
        for private in
            ["http://127.0.0.1/", "https://[::1]:1/", "http://LOCALHOST/", "http://169.254.169.254/x"]
        {
            check(private, Reach::Public, "public internet");
        }
        check("", Reach::Public, "required");
        check("ftp://example.org/", Reach::Public, "neither");
        check("/hook", Reach::Public, "neither");
        check("https://user:word@example.org/", Reach::Public, "password");
        check("https://exam ple.org/", Reach::Public, "not a URL");
        check(&format!("https://example.org/{}", "x".repeat(2048)), Reach::Public, "longer");
    }
}

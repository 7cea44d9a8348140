//! Webhooks. What they sign with is in the reply that makes one, and nowhere else.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;

use hearth_domain::Webhook;
use hearth_proto::gateway as pb;

use super::int;
use super::time::timestamp;

/// The record as clients see it.
fn to_pb(webhook: &Webhook) -> pb::Webhook {
    let state = if webhook.is_failing() { pb::webhook::State::Failing } else { pb::webhook::State::Active };
    let health = &webhook.health;
    pb::Webhook {
        name: webhook.name(),
        display_name: webhook.display_name.clone(),
        url: webhook.url.clone(),
        event_types: webhook.event_types.clone(),
        signing_secret: String::new(),
        state: state.into(),
        created_by: webhook.created_by.clone(),
        create_time: Some(timestamp(webhook.create_time_ms)),
        update_time: Some(timestamp(webhook.update_time_ms)),
        consecutive_failures: i32::try_from(health.consecutive_failures).unwrap_or(i32::MAX),
        last_error: health.last_error.clone(),
        last_attempt_time: health.last_attempt_ms.map(timestamp),
        last_success_time: health.last_success_ms.map(timestamp),
        dropped_events: int(health.dropped),
    }
}

//! Accounts.

pub(super) mod create;
pub(super) mod get;
pub(super) mod list;
pub(super) mod suspend;
pub(super) mod unsuspend;

use hearth_domain::{Account, Status};
use hearth_proto::gateway as pb;

use super::time::timestamp;

/// The record as clients see it. It has no type: the newer client does not know the types of the older one.
pub(super) fn to_pb(account: &Account) -> pb::Account {
    let suspend_state =
        pb::account::SuspendState::from_str_name(account.suspend_state.name()).unwrap_or_default();
    pb::Account {
        name: account.name(),
        display_name: account.display_name.clone(),
        email: account.email.clone(),
        create_time: Some(timestamp(account.create_time_ms)),
        update_time: Some(timestamp(account.update_time_ms)),
        state: pb::account::State::Ready.into(),
        status: Some(super::status_to_pb(&Status::default())),
        suspend_state: suspend_state.into(),
        ..Default::default()
    }
}

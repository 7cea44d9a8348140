//! Quotas: the limits of this installation and what of them is used.

pub(super) mod get;
pub(super) mod list;

use hearth_domain::Quota;
use hearth_proto::gateway as pb;

/// The record as clients see it. There are no times: limits are the operator's settings, and usage is of this moment.
fn to_pb(quota: &Quota) -> pb::Quota {
    let limit = i64::try_from(quota.limit).unwrap_or(i64::MAX);
    pb::Quota {
        name: quota.name(),
        value: limit,
        max_value: limit,
        usage: quota.usage as f64,
        update_time: None,
        create_time: None,
    }
}

//! Fields of the hosted service that this server knows and does not act on.

use hearth_domain::job;

/// JSON names of the fields that clients may set, of a message that has more of them; `None` if all have effect or
/// nothing is known.
pub(super) fn supported(full_name: &str) -> Option<&'static [&'static str]> {
    match full_name {
        "gateway.SupervisedFineTuningJob" => Some(job::SUPPORTED_FIELDS),
        _ => None,
    }
}

/// Said of the others.
pub(super) const NOT_SUPPORTED: &str = "Not supported yet: a request that sets it is refused.";

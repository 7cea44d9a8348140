//! Secrets. A value goes in and never comes out: not in a reply, not in an error, not in the log.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod update;

use hearth_domain::Secret;
use hearth_domain::secret::key_name_problem;
use hearth_proto::gateway as pb;
use secrecy::SecretString;

use crate::error::ServerError;
use crate::limits::SECRET_VALUE_MAX_BYTES;

/// The record as clients see it.
fn to_pb(secret: &Secret) -> pb::Secret {
    pb::Secret {
        name: secret.name().to_string(),
        key_name: secret.key_name.clone(),
        // Written by the client only.
        value: String::new(),
    }
}

/// Takes the value out of a request; `None` if there is none.
fn take_value(given: &mut pb::Secret) -> Result<Option<SecretString>, ServerError> {
    let value = std::mem::take(&mut given.value);
    if value.len() > SECRET_VALUE_MAX_BYTES {
        drop(SecretString::from(value));
        let what = format!("is longer than {SECRET_VALUE_MAX_BYTES} bytes");
        return Err(ServerError::field("secret.value", what));
    }
    Ok((!value.is_empty()).then(|| SecretString::from(value)))
}

fn check_key_name(name: &str) -> Result<(), ServerError> {
    key_name_problem(name).map_or(Ok(()), |problem| Err(ServerError::field("secret.keyName", problem)))
}

//! What is printed of messages that hold a secret: all but that.

use std::fmt;

use crate::gateway;

/// Stands for a secret that is there.
const REDACTED: &str = "[redacted]";

/// Prints a message field by field; of those behind the semicolon it says only whether they are set.
macro_rules! redacted {
    ($($message:ident { $($field:ident),* ; $($secret:ident),+ })+) => {
        /// Full names of the messages that this module prints.
        #[cfg(test)]
        const MESSAGES: &[&str] = &[$(stringify!($message)),+];

        $(impl fmt::Debug for gateway::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Fails to compile when a field is added and not listed here.
                let Self { $($field,)* $($secret),+ } = self;
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), $field))*
                    $(.field(stringify!($secret), if $secret.is_empty() { &"" } else { &REDACTED }))+
                    .finish()
            }
        })+
    };
}

redacted! {
    Secret { name, key_name; value }
    ApiKey { key_id, display_name, create_time, secure, email, prefix, expire_time; key }
    WandbConfig { enabled, project, entity, run_id, url; api_key }
    Webhook { name, display_name, url, event_types, state, created_by, create_time, update_time, consecutive_failures, last_error, last_attempt_time, last_success_time, dropped_events; signing_secret }
    AwsS3ModelSource { s3_bucket, s3_path, role_arn, access_key_id; access_secret }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::{Behavior, behavior};

    #[test]
    fn secrets_are_not_printed() {
        let secret = gateway::Secret { name: "n".into(), key_name: "k".into(), value: "hush".into() };
        assert_eq!(format!("{secret:?}"), "Secret { name: \"n\", key_name: \"k\", value: \"[redacted]\" }");
        let request = gateway::CreateSecretRequest { parent: "p".into(), secret: Some(secret) };
        assert!(!format!("{request:#?}").contains("hush"));
        let key = gateway::ApiKey { key: "fw_hush".into(), ..Default::default() };
        assert!(!format!("{key:?}").contains("hush"));
    }

    #[test]
    fn every_message_with_a_field_that_never_comes_back_is_here() {
        for message in crate::descriptor_pool().all_messages() {
            let is_secret = message.fields().any(|field| behavior(&field) == Behavior::InputOnly);
            let is_here = MESSAGES.contains(&message.name());
            assert!(is_here || !is_secret, "{} is printed with its secret", message.full_name());
        }
    }
}

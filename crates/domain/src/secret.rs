//! Secrets: texts that jobs use and nobody reads back. What is kept is encrypted; `store` has the keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, SecretId};

/// Longest name of what a secret's value is the key of, in characters.
pub const KEY_NAME_MAX_CHARS: usize = 200;

/// An encrypted value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Id of the key that opens it.
    pub key_id: String,
    /// 24 random bytes, in hex.
    pub nonce: String,
    /// Ciphertext and tag, in base64.
    pub ciphertext: String,
}

/// A secret of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: SecretId,
    /// What the value is called where it is used, for example `WANDB_API_KEY`.
    pub key_name: String,
    /// The value.
    pub sealed: Sealed,
    /// When it was made.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

impl Secret {
    /// Its name.
    pub fn name(&self) -> SecretRef {
        SecretRef { account: self.account.clone(), id: self.id.clone() }
    }
}

/// A secret of an account; prints as its resource name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// Owner.
    pub account: AccountId,
    /// Which one.
    pub id: SecretId,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accounts/{}/secrets/{}", self.account, self.id)
    }
}

/// What is wrong with a key name, if something is.
pub fn key_name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is required");
    }
    if name.chars().count() > KEY_NAME_MAX_CHARS {
        return Some("is longer than 200 characters");
    }
    name.chars().any(char::is_control).then_some("has a control character")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_short_and_plain() {
        assert_eq!(key_name_problem("WANDB_API_KEY"), None);
        assert_eq!(key_name_problem(&"x".repeat(200)), None);
        assert!(key_name_problem("").is_some());
        assert!(key_name_problem("a\nb").is_some());
        assert!(key_name_problem(&"x".repeat(201)).is_some());
    }
}

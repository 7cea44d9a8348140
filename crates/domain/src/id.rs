//! Ids of resources: the rules of the API, typed so that an account cannot pass for a job.
//!
//! An id is also a directory name, so these rules keep every path inside the data directory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest id, in characters.
pub const ID_MAX_CHARS: usize = 63;

/// Length of a generated id, in characters.
pub const GENERATED_ID_CHARS: usize = 8;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id {} {problem}", shown(.id))]
pub struct IdError {
    /// Which kind of id.
    pub kind: &'static str,
    /// What was given.
    pub id: String,
    /// The rule that it breaks.
    pub problem: IdProblem,
}

/// Quotes an id for an error, cut to the length that an id may have.
fn shown(id: &str) -> String {
    let cut: String = id.chars().take(ID_MAX_CHARS).collect();
    if cut.len() < id.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
}

/// The rules of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdProblem {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Over [`ID_MAX_CHARS`].
    #[error("is longer than {ID_MAX_CHARS} characters")]
    TooLong,
    /// Something else than lower-case letters, digits and hyphens.
    #[error("has {0:?}; only lower-case letters, digits and hyphens are allowed")]
    Character(char),
    /// A digit first.
    #[error("begins with a digit")]
    LeadingDigit,
    /// A hyphen first.
    #[error("begins with a hyphen")]
    LeadingHyphen,
    /// A hyphen last.
    #[error("ends with a hyphen")]
    TrailingHyphen,
}

fn problem(id: &str) -> Option<IdProblem> {
    if id.is_empty() {
        return Some(IdProblem::Empty);
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(wrong) = id.chars().find(|&c| !allowed(c)) {
        return Some(IdProblem::Character(wrong));
    }
    if id.len() > ID_MAX_CHARS {
        return Some(IdProblem::TooLong);
    }
    if id.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(IdProblem::LeadingDigit);
    }
    if id.starts_with('-') {
        return Some(IdProblem::LeadingHyphen);
    }
    id.ends_with('-').then_some(IdProblem::TrailingHyphen)
}

/// Eight lower-case letters and digits, a letter first, from 64 random bits.
fn generated(random: u64) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
    const ALL: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rest = random;
    let mut id = String::with_capacity(GENERATED_ID_CHARS);
    for place in 0..GENERATED_ID_CHARS {
        let set = if place == 0 { LETTERS } else { ALL };
        id.push(char::from(set[(rest % set.len() as u64) as usize]));
        rest /= set.len() as u64;
    }
    id
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $kind:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the rules: 1 to 63 characters of `[a-z0-9-]`, no digit or hyphen first, no hyphen last.
            pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
                let id = id.into();
                match problem(&id) {
                    None => Ok(Self(id)),
                    Some(problem) => Err(IdError { kind: $kind, id, problem }),
                }
            }

            /// An id for a resource that was not given one: eight characters, a letter first.
            pub fn generate(random: u64) -> Self {
                Self(generated(random))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(id: String) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )+};
}

ids! {
    /// Id of an account.
    AccountId, "account";
    /// Id of a dataset in its account.
    DatasetId, "dataset";
    /// Id of a model in its account.
    ModelId, "model";
    /// Id of a job in its account.
    JobId, "job";
    /// Id of a user in its account.
    UserId, "user";
    /// Id of a secret in its account.
    SecretId, "secret";
    /// Id of a deployment in its account.
    DeploymentId, "deployment";
    /// Id of a deployed model in its account.
    DeployedModelId, "deployed model";
    /// Id of a check of datasets in its account.
    DatasetValidationJobId, "dataset validation job";
    /// Id of a batch inference job in its account.
    BatchInferenceJobId, "batch inference job";
    /// Id of work that a call began, in its account.
    OperationId, "operation";
    /// Id of a webhook in its account.
    WebhookId, "webhook";
}

/// A dataset of an account; prints as its resource name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatasetRef {
    /// Owner.
    pub account: AccountId,
    /// Which one.
    pub id: DatasetId,
}

impl fmt::Display for DatasetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accounts/{}/datasets/{}", self.account, self.id)
    }
}

/// A model of an account; prints as its resource name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// Owner.
    pub account: AccountId,
    /// Which one.
    pub id: ModelId,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accounts/{}/models/{}", self.account, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_rule_is_named() {
        let check = |id: &str, expect: &str| {
            let said = match JobId::new(id) {
                Ok(id) => id.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, expect);
        };
        check("a", "a");
        check("my-job-5f3a2", "my-job-5f3a2");
        check("", "job id \"\" is empty");
        check("5f3a2", "job id \"5f3a2\" begins with a digit");
        check("-a", "job id \"-a\" begins with a hyphen");
        check("a-", "job id \"a-\" ends with a hyphen");
        check("..", "job id \"..\" has '.'; only lower-case letters, digits and hyphens are allowed");
        check("a/b", "job id \"a/b\" has '/'; only lower-case letters, digits and hyphens are allowed");
        check("aB", "job id \"aB\" has 'B'; only lower-case letters, digits and hyphens are allowed");
        let longest = "a".repeat(63);
        check(&longest, &longest);
        check(&"a".repeat(64), &format!("job id {longest:?}... is longer than 63 characters"));
    }

    proptest! {
        #[test]
        fn generated_ids_are_ids(random: u64) {
            let id = JobId::generate(random);
            prop_assert_eq!(id.as_str().len(), GENERATED_ID_CHARS);
            prop_assert_eq!(JobId::new(id.as_str()), Ok(id));
        }
    }
}

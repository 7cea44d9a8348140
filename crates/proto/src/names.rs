//! Resource names: `accounts/{account}/{collection}/{id}`, parsed and printed in one place.

use std::fmt;
use std::str::FromStr;

/// A name that does not have the expected form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a resource name of the form {expected}")]
pub struct NameError {
    /// What was given, cut after `FOUND_MAX_CHARS` characters.
    pub found: String,
    /// The pattern.
    pub expected: &'static str,
}

/// Most characters of a wrong name that an error repeats.
const FOUND_MAX_CHARS: usize = 120;

/// Matches `name` against `pattern`, whose `{variables}` stand for one non-empty segment each.
fn variables<'a, const N: usize>(name: &'a str, pattern: &'static str) -> Result<[&'a str; N], NameError> {
    let error = || NameError { found: name.chars().take(FOUND_MAX_CHARS).collect(), expected: pattern };
    let mut found = [""; N];
    let mut count = 0;
    let mut segments = name.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next().ok_or_else(error)?;
        if expected.starts_with('{') {
            // A verb such as `:cancel` belongs to the path, never to a name.
            if segment.is_empty() || segment.contains(':') {
                return Err(error());
            }
            found[count] = segment;
            count += 1;
        } else if segment != expected {
            return Err(error());
        }
    }
    if segments.next().is_some() {
        return Err(error());
    }
    assert_eq!(count, N, "{pattern} has {count} variables");
    Ok(found)
}

macro_rules! resource_name {
    ($(#[$doc:meta])* $name:ident { $($field:ident),+ } = $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            $(
                #[doc = concat!("Id that stands for `{", stringify!($field), "}`.")]
                pub $field: String,
            )+
        }

        impl $name {
            #[doc = concat!("The form of the name: `", $pattern, "`.")]
            pub const PATTERN: &str = $pattern;
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                let [$($field),+] = variables(name, $pattern)?;
                Ok(Self { $($field: $field.to_owned()),+ })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $pattern, $($field = self.$field),+)
            }
        }
    };
}

resource_name! {
    /// Name of an account.
    AccountName { account } = "accounts/{account}"
}
resource_name! {
    /// Name of a user.
    UserName { account, user } = "accounts/{account}/users/{user}"
}
resource_name! {
    /// Name of a dataset.
    DatasetName { account, dataset } = "accounts/{account}/datasets/{dataset}"
}
resource_name! {
    /// Name of a model.
    ModelName { account, model } = "accounts/{account}/models/{model}"
}

resource_name! {
    /// Name of a deployed model.
    DeployedModelName { account, deployed_model } = "accounts/{account}/deployedModels/{deployed_model}"
}
resource_name! {
    /// Name of a supervised fine-tuning job.
    JobName { account, job } = "accounts/{account}/supervisedFineTuningJobs/{job}"
}
resource_name! {
    /// Name of a secret.
    SecretName { account, secret } = "accounts/{account}/secrets/{secret}"
}
resource_name! {
    /// Name of a webhook.
    WebhookName { account, webhook } = "accounts/{account}/webhooks/{webhook}"
}
resource_name! {
    /// Name of a quota.
    QuotaName { account, quota } = "accounts/{account}/quotas/{quota}"
}
resource_name! {
    /// Name of a check of datasets.
    DatasetValidationJobName { account, job } = "accounts/{account}/datasetValidationJobs/{job}"
}
resource_name! {
    /// Name of a deployment.
    DeploymentName { account, deployment } = "accounts/{account}/deployments/{deployment}"
}
resource_name! {
    /// Name of a batch inference job.
    BatchInferenceJobName { account, job } = "accounts/{account}/batchInferenceJobs/{job}"
}
resource_name! {
    /// Name of work that a call began.
    OperationName { account, operation } = "accounts/{account}/operations/{operation}"
}
resource_name! {
    /// Name of a checkpoint of a job.
    CheckpointName { account, job, checkpoint } = "accounts/{account}/supervisedFineTuningJobs/{job}/checkpoints/{checkpoint}"
}

impl DatasetName {
    /// A full name, or a bare id that belongs to `account`.
    pub fn parse_in(account: &str, text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.contains('/') {
            return text.parse();
        }
        Ok(Self { account: account.to_owned(), dataset: text.to_owned() })
    }
}

impl SecretName {
    /// A full name, or a bare id that belongs to `account`.
    pub fn parse_in(account: &str, text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.contains('/') {
            return text.parse();
        }
        Ok(Self { account: account.to_owned(), secret: text.to_owned() })
    }
}

impl ModelName {
    /// A full name, or a bare id that belongs to `account`.
    pub fn parse_in(account: &str, text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.contains('/') {
            return text.parse();
        }
        Ok(Self { account: account.to_owned(), model: text.to_owned() })
    }
}

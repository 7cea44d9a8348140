//! What opens datasets that lie elsewhere: `awsS3Config` and `azureBlobStorageConfig`.

use serde::{Deserialize, Serialize};

use super::JobRequest;
use super::check::Checker;
use super::request::JobFacts;
use crate::code::Code;
use crate::dataset::Dataset;
use crate::location::{Location, role_arn_problem};
use crate::secret::SecretRef;

/// `awsS3Config` as a client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsS3Request {
    /// Name of a secret.
    pub credentials_secret: String,
    /// ARN of a role.
    pub iam_role_arn: String,
}

/// `azureBlobStorageConfig` as a client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureRequest {
    /// Name of a secret.
    pub credentials_secret: String,
    /// Id of an identity.
    pub managed_identity_client_id: String,
    /// Where that lives.
    pub tenant_id: String,
}

/// What was found of a secret that a request names. Nothing of its value is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretFact {
    /// None is named.
    #[default]
    NotNamed,
    /// There is no such secret.
    Missing,
    /// It is there, and its value is not what it must be.
    Unusable(String),
    /// It is there.
    Usable(SecretRef),
}

/// What the server found out about access to other places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// The secret of `awsS3Config`.
    pub aws_secret: SecretFact,
    /// The secret of `azureBlobStorageConfig`.
    pub azure_secret: SecretFact,
    /// Whether the operator has given this server an identity that roles of AWS can trust.
    pub can_take_roles: bool,
    /// The same for identities of Azure.
    pub can_take_identities: bool,
}

/// What opens the buckets of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwsS3Config {
    /// A secret that holds an access key.
    Secret(SecretRef),
    /// A role that this server takes.
    Role(String),
}

/// What opens the containers of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AzureConfig {
    /// A secret that holds a connection string, a SAS token or an account key.
    Secret(SecretRef),
    /// An identity that this server takes.
    Identity {
        /// Which.
        client_id: String,
        /// Where it lives.
        tenant_id: String,
    },
}

/// Whether a dataset of the job lies there; `None` if one is missing, which is said elsewhere.
fn is_any(request: &JobRequest, facts: &JobFacts, is_there: fn(&Location) -> bool) -> Option<bool> {
    let lies_there = |name: &str, found: Option<&Dataset>| match found {
        _ if name.is_empty() => Some(false),
        None => None,
        Some(dataset) => Some(dataset.location().is_some_and(|location| is_there(&location))),
    };
    let rows = lies_there(&request.dataset, facts.dataset.as_ref())?;
    Some(rows || lies_there(&request.evaluation_dataset, facts.evaluation_dataset.as_ref())?)
}

fn secret(check: &mut Checker, field: &str, name: &str, found: &SecretFact) -> Option<SecretRef> {
    match found {
        SecretFact::NotNamed => None,
        SecretFact::Missing => {
            check.add(Code::NotFound, field, format!("there is no secret {name}"));
            None
        }
        SecretFact::Unusable(what) => {
            check.add(Code::FailedPrecondition, field, format!("secret {name} {what}"));
            None
        }
        SecretFact::Usable(name) => Some(name.clone()),
    }
}

pub(super) fn aws(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<AwsS3Config> {
    let given = request.aws_s3_config.as_ref()?;
    let is_there = |location: &Location| matches!(location, Location::S3 { .. });
    if is_any(request, facts, is_there) == Some(false) {
        let what = "neither dataset nor evaluationDataset lies in S3 (externalUrl s3://...); leave it out";
        check.add(Code::InvalidArgument, "awsS3Config", what);
    }
    let named =
        secret(check, "awsS3Config.credentialsSecret", &given.credentials_secret, &facts.storage.aws_secret);
    if given.iam_role_arn.is_empty() {
        return named.map(AwsS3Config::Secret);
    }
    const FIELD: &str = "awsS3Config.iamRoleArn";
    if !given.credentials_secret.is_empty() {
        check.add(
            Code::InvalidArgument,
            "awsS3Config",
            "has both credentialsSecret and iamRoleArn; give one",
        );
    }
    if let Some(problem) = role_arn_problem(&given.iam_role_arn) {
        check.add(Code::InvalidArgument, FIELD, problem);
    } else if !facts.storage.can_take_roles {
        let what = "this server has no identity that a role could trust; the operator must start it with \
                    --aws-web-identity-token-file";
        check.add(Code::FailedPrecondition, FIELD, what);
    }
    Some(AwsS3Config::Role(given.iam_role_arn.clone()))
}

pub(super) fn azure(check: &mut Checker, request: &JobRequest, facts: &JobFacts) -> Option<AzureConfig> {
    let given = request.azure_blob_storage_config.as_ref()?;
    let is_there = |location: &Location| matches!(location, Location::Azure { .. });
    if is_any(request, facts, is_there) == Some(false) {
        let what = "neither dataset nor evaluationDataset lies in Azure Blob Storage (externalUrl \
                    https://ACCOUNT.blob.core.windows.net/...); leave it out";
        check.add(Code::InvalidArgument, "azureBlobStorageConfig", what);
    }
    let named = secret(
        check,
        "azureBlobStorageConfig.credentialsSecret",
        &given.credentials_secret,
        &facts.storage.azure_secret,
    );
    let (client_id, tenant_id) = (&given.managed_identity_client_id, &given.tenant_id);
    if client_id.is_empty() && tenant_id.is_empty() {
        return named.map(AzureConfig::Secret);
    }
    if !given.credentials_secret.is_empty() {
        let what = "has both credentialsSecret and a managed identity; give one";
        check.add(Code::InvalidArgument, "azureBlobStorageConfig", what);
    }
    let fields = [
        ("managedIdentityClientId", client_id, "tenantId"),
        ("tenantId", tenant_id, "managedIdentityClientId"),
    ];
    for (name, value, other) in fields {
        let field = format!("azureBlobStorageConfig.{name}");
        if value.is_empty() {
            check.add(Code::InvalidArgument, &field, format!("is required with {other}"));
        } else if !is_uuid(value) {
            check.add(Code::InvalidArgument, &field, "is not a UUID");
        }
    }
    if !facts.storage.can_take_identities {
        let what = "this server has no identity that a managed identity could trust; the operator must start it with \
                    --azure-identity-token-file";
        check.add(Code::FailedPrecondition, "azureBlobStorageConfig.managedIdentityClientId", what);
    }
    Some(AzureConfig::Identity { client_id: client_id.clone(), tenant_id: tenant_id.clone() })
}

/// `8-4-4-4-12` hex digits.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::DatasetState;
    use crate::id::{AccountId, DatasetId, DatasetRef, JobId, SecretId};

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

    fn dataset(url: &str) -> Dataset {
        let name =
            DatasetRef { account: AccountId::new("acme").unwrap(), id: DatasetId::new("rows").unwrap() };
        Dataset { state: DatasetState::Ready, external_url: url.to_owned(), ..Dataset::new(name, "", 0) }
    }

    fn usable() -> SecretFact {
        SecretFact::Usable(SecretRef {
            account: AccountId::new("acme").unwrap(),
            id: SecretId::new("s").unwrap(),
        })
    }

    /// Codes and fields of what is wrong, and what the job gets.
    fn check(
        url: &str,
        aws_s3_config: Option<AwsS3Request>,
        azure_blob_storage_config: Option<AzureRequest>,
        storage: StorageFacts,
    ) -> (Vec<String>, Option<AwsS3Config>, Option<AzureConfig>) {
        let request = JobRequest {
            dataset: "rows".into(),
            aws_s3_config,
            azure_blob_storage_config,
            ..Default::default()
        };
        let facts = JobFacts {
            account: AccountId::new("acme").unwrap(),
            job: JobId::new("j1").unwrap(),
            dataset: Some(dataset(url)),
            evaluation_dataset: None,
            base_model: None,
            warm_start: None,
            placement: Default::default(),
            storage,
        };
        let mut check = Checker::default();
        let (aws, azure) = (aws(&mut check, &request, &facts), azure(&mut check, &request, &facts));
        let found = check.0.iter().map(|one| format!("{} {}", one.code.name(), one.field)).collect();
        (found, aws, azure)
    }

    #[test]
    fn buckets_are_opened_by_one_thing() {
        let s3 = "s3://bucket/rows.jsonl";
        let by = |secret: &str, role: &str| {
            Some(AwsS3Request { credentials_secret: secret.into(), iam_role_arn: role.into() })
        };
        let facts =
            |aws_secret, can_take_roles| StorageFacts { aws_secret, can_take_roles, ..Default::default() };
        let refused = |url, given, facts| check(url, given, None, facts).0.join("; ");
        assert_eq!(check(s3, None, None, facts(SecretFact::NotNamed, false)), (vec![], None, None));
        assert!(matches!(
            check(s3, by("s", ""), None, facts(usable(), false)).1,
            Some(AwsS3Config::Secret(_))
        ));
        assert_eq!(
            check(s3, by("", ROLE), None, facts(SecretFact::NotNamed, true)).1,
            Some(AwsS3Config::Role(ROLE.into()))
        );
        assert_eq!(refused(s3, by("s", ROLE), facts(usable(), true)), "INVALID_ARGUMENT awsS3Config");
        assert_eq!(refused("", by("s", ""), facts(usable(), true)), "INVALID_ARGUMENT awsS3Config");
        let azure = "https://acme1.blob.core.windows.net/rows/";
        assert_eq!(refused(azure, by("s", ""), facts(usable(), true)), "INVALID_ARGUMENT awsS3Config");
        let secret = "awsS3Config.credentialsSecret";
        assert_eq!(refused(s3, by("s", ""), facts(SecretFact::Missing, true)), format!("NOT_FOUND {secret}"));
        let bad = SecretFact::Unusable("is odd".into());
        assert_eq!(refused(s3, by("s", ""), facts(bad, true)), format!("FAILED_PRECONDITION {secret}"));
        let role = "awsS3Config.iamRoleArn";
        assert_eq!(
            refused(s3, by("", "me"), facts(SecretFact::NotNamed, true)),
            format!("INVALID_ARGUMENT {role}")
        );
        assert_eq!(
            refused(s3, by("", ROLE), facts(SecretFact::NotNamed, false)),
            format!("FAILED_PRECONDITION {role}")
        );
    }

    #[test]
    fn containers_are_opened_by_one_thing() {
        let rows = "https://acme1.blob.core.windows.net/rows/x.jsonl";
        let by = |secret: &str, client: &str, tenant: &str| {
            Some(AzureRequest {
                credentials_secret: secret.into(),
                managed_identity_client_id: client.into(),
                tenant_id: tenant.into(),
            })
        };
        let facts = |azure_secret, can_take_identities| StorageFacts {
            azure_secret,
            can_take_identities,
            ..Default::default()
        };
        let refused = |url, given, facts| check(url, None, given, facts).0.join("; ");
        assert!(matches!(
            check(rows, None, by("s", "", ""), facts(usable(), false)).2,
            Some(AzureConfig::Secret(_))
        ));
        let identity = AzureConfig::Identity { client_id: UUID.into(), tenant_id: UUID.into() };
        assert_eq!(
            check(rows, None, by("", UUID, UUID), facts(SecretFact::NotNamed, true)).2,
            Some(identity)
        );
        let config = "INVALID_ARGUMENT azureBlobStorageConfig";
        assert_eq!(refused(rows, by("s", UUID, UUID), facts(usable(), true)), config);
        assert_eq!(refused("s3://bucket/", by("s", "", ""), facts(usable(), true)), config);
        let none = || SecretFact::NotNamed;
        assert_eq!(refused(rows, by("", UUID, ""), facts(none(), true)), format!("{config}.tenantId"));
        let client = "managedIdentityClientId";
        assert_eq!(refused(rows, by("", "", UUID), facts(none(), true)), format!("{config}.{client}"));
        assert_eq!(refused(rows, by("", "../x", UUID), facts(none(), true)), format!("{config}.{client}"));
        let operator = format!("FAILED_PRECONDITION azureBlobStorageConfig.{client}");
        assert_eq!(refused(rows, by("", UUID, UUID), facts(none(), false)), operator);
    }
}

//! What opens datasets that lie elsewhere: the secrets that a request names, and what a job shows.

use hearth_domain::job::{AwsS3Config, AzureConfig, SecretFact, StorageFacts};
use hearth_domain::{AccountId, Code, Dataset, JobRequest, Location};
use hearth_proto::gateway as pb;
use hearth_remote::{access_key_of_secret, azure_access_of_secret};
use secrecy::ExposeSecret;

use crate::error::ServerError;
use crate::gateway::{Call, names};

pub(super) fn aws_to_pb(config: &AwsS3Config) -> pb::AwsS3Config {
    match config {
        AwsS3Config::Secret(secret) => {
            pb::AwsS3Config { credentials_secret: secret.to_string(), ..Default::default() }
        }
        AwsS3Config::Role(arn) => pb::AwsS3Config { iam_role_arn: arn.clone(), ..Default::default() },
    }
}

pub(super) fn azure_to_pb(config: &AzureConfig) -> pb::AzureBlobStorageConfig {
    match config {
        AzureConfig::Secret(secret) => {
            pb::AzureBlobStorageConfig { credentials_secret: secret.to_string(), ..Default::default() }
        }
        AzureConfig::Identity { client_id, tenant_id } => pb::AzureBlobStorageConfig {
            managed_identity_client_id: client_id.clone(),
            tenant_id: tenant_id.clone(),
            ..Default::default()
        },
    }
}

/// Looks at the secrets that a request names. They are opened to see whether they can be used, and nothing of them is
/// kept.
pub(super) async fn facts(
    call: &Call,
    account: &AccountId,
    wanted: &JobRequest,
    datasets: [Option<&Dataset>; 2],
) -> Result<StorageFacts, ServerError> {
    let services = call.state.storage_services();
    let aws = wanted.aws_s3_config.as_ref().map_or("", |given| &given.credentials_secret);
    let azure = wanted.azure_blob_storage_config.as_ref().map_or("", |given| &given.credentials_secret);
    let azure_accounts: Vec<String> = datasets
        .into_iter()
        .flatten()
        .filter_map(|dataset| match dataset.location() {
            Some(Location::Azure { account, .. }) => Some(account),
            _ => None,
        })
        .collect();
    let opens_s3 = |value: &str| access_key_of_secret("", value).map(drop);
    let opens_azure = |value: &str| {
        azure_accounts
            .iter()
            .try_for_each(|account| azure_access_of_secret(services, account, value).map(drop))
    };
    Ok(StorageFacts {
        aws_secret: secret(call, account, "awsS3Config.credentialsSecret", aws, opens_s3).await?,
        azure_secret: secret(call, account, "azureBlobStorageConfig.credentialsSecret", azure, opens_azure)
            .await?,
        can_take_roles: services.sts.is_some(),
        can_take_identities: services.azure_identity.is_some(),
    })
}

async fn secret(
    call: &Call,
    account: &AccountId,
    field: &str,
    text: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<SecretFact, ServerError> {
    if text.is_empty() {
        return Ok(SecretFact::NotNamed);
    }
    let name = names::secret_in(account, field, text)?;
    if name.account != *account {
        return Err(ServerError::field(field, "names a secret of another account than the job's"));
    }
    match call.state.store().secret_value(&name).await {
        Ok(value) => Ok(match check(value.expose_secret()) {
            Ok(()) => SecretFact::Usable(name),
            Err(what) => SecretFact::Unusable(what),
        }),
        Err(error) if error.code() == Code::NotFound => Ok(SecretFact::Missing),
        Err(error) => Err(error.into()),
    }
}

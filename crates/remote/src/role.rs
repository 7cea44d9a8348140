//! Roles at Amazon, taken by `AssumeRoleWithWebIdentity`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;

use crate::connector::Connector;
use crate::error::RemoteError;
use crate::services::{Services, StsConfig};
use crate::token::{Kept, Lasting, own_token, post, refused};

/// What the service is called in errors.
const SERVICE: &str = "the token service of AWS (STS)";
/// How long a role is taken for, in seconds: as long as every role allows.
const SESSION_SECONDS: &str = "3600";

/// Takes a role whenever the last credentials end.
#[derive(Debug)]
pub(crate) struct Role {
    connector: Connector,
    config: StsConfig,
    arn: String,
    session: String,
    kept: Kept<AwsCredential>,
}

impl Role {
    pub(crate) fn new(services: &Services, arn: &str, session: &str) -> Result<Self, RemoteError> {
        let config = services.sts.clone().ok_or_else(|| {
            RemoteError::Refused(
                "this server cannot take roles: the operator must give hearth serve --aws-web-identity-token-file"
                    .to_owned(),
            )
        })?;
        let connector = Connector::for_tokens(&config.url, config.is_official, services)?;
        Ok(Self { connector, config, arn: arn.to_owned(), session: session.to_owned(), kept: Kept::new() })
    }

    async fn take(&self) -> Result<Lasting<AwsCredential>, RemoteError> {
        let token = own_token(&self.config.token_file)?;
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", self.arn.as_str()),
            ("RoleSessionName", self.session.as_str()),
            ("DurationSeconds", SESSION_SECONDS),
            ("WebIdentityToken", token.as_str()),
        ];
        let (status, text) =
            post(&self.connector, SERVICE, format!("{}/", self.config.url.as_str()), &fields).await?;
        if status != 200 {
            let error: Result<ErrorResponse, _> = quick_xml::de::from_str(&text);
            let code = error.map(|answer| answer.error.code).unwrap_or_default();
            let what = format!("{SERVICE} does not let this server take role {}", self.arn);
            return Err(refused(&what, status, &code));
        }
        let answer: Response = quick_xml::de::from_str(&text).map_err(|_| {
            RemoteError::Unreachable(format!("{SERVICE} answers with something else than credentials"))
        })?;
        let given = answer.result.credentials;
        let lives = given
            .expiration
            .parse::<Timestamp>()
            .map_or(0, |end| end.as_second().saturating_sub(Timestamp::now().as_second()).max(0));
        let credential = AwsCredential {
            key_id: given.access_key_id,
            secret_key: given.secret_access_key,
            token: Some(given.session_token),
        };
        let until = Instant::now() + Duration::from_secs(lives.unsigned_abs());
        Ok(Lasting { value: Arc::new(credential), until })
    }
}

#[async_trait::async_trait]
impl CredentialProvider for Role {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let taken = self.kept.get(self.take()).await;
        taken.map_err(|error| object_store::Error::Generic { store: "STS", source: Box::new(error) })
    }
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "AssumeRoleWithWebIdentityResult")]
    result: AssumeResult,
}

#[derive(Deserialize)]
struct AssumeResult {
    #[serde(rename = "Credentials")]
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Error")]
    error: ErrorCode,
}

#[derive(Deserialize)]
struct ErrorCode {
    #[serde(rename = "Code")]
    code: String,
}

//! Managed identities at Azure, taken with a token of this server that they trust (workload identity federation).

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::CredentialProvider;
use object_store::azure::AzureCredential;
use serde::Deserialize;

use crate::connector::Connector;
use crate::error::RemoteError;
use crate::services::{AzureIdentity, Services};
use crate::token::{Kept, Lasting, own_token, post, refused};

/// What the service is called in errors.
const SERVICE: &str = "the token service of Azure";
/// What the token is for.
const SCOPE: &str = "https://storage.azure.com/.default";

/// Asks for a token whenever the last one ends.
#[derive(Debug)]
pub(crate) struct Identity {
    connector: Connector,
    config: AzureIdentity,
    client_id: String,
    tenant_id: String,
    kept: Kept<AzureCredential>,
}

impl Identity {
    pub(crate) fn new(services: &Services, client_id: &str, tenant_id: &str) -> Result<Self, RemoteError> {
        let config = services.azure_identity.clone().ok_or_else(|| {
            RemoteError::Refused(
                "this server cannot take managed identities: the operator must give hearth serve \
                 --azure-identity-token-file"
                    .to_owned(),
            )
        })?;
        let connector = Connector::for_tokens(&config.url, config.is_official, services)?;
        let (client_id, tenant_id) = (client_id.to_owned(), tenant_id.to_owned());
        Ok(Self { connector, config, client_id, tenant_id, kept: Kept::new() })
    }

    async fn take(&self) -> Result<Lasting<AzureCredential>, RemoteError> {
        let token = own_token(&self.config.token_file)?;
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id.as_str()),
            ("scope", SCOPE),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", token.as_str()),
        ];
        let url = format!("{}/{}/oauth2/v2.0/token", self.config.url.as_str(), self.tenant_id);
        let (status, text) = post(&self.connector, SERVICE, url, &fields).await?;
        if status != 200 {
            let error: Refusal = serde_json::from_str(&text).unwrap_or_default();
            let what = format!(
                "{SERVICE} does not let this server take identity {} of tenant {}",
                self.client_id, self.tenant_id
            );
            return Err(refused(&what, status, &error.error));
        }
        let given: Given = serde_json::from_str(&text).map_err(|_| {
            RemoteError::Unreachable(format!("{SERVICE} answers with something else than a token"))
        })?;
        let until = Instant::now() + Duration::from_secs(given.expires_in.min(24 * 3600));
        Ok(Lasting { value: Arc::new(AzureCredential::BearerToken(given.access_token)), until })
    }
}

#[async_trait::async_trait]
impl CredentialProvider for Identity {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let taken = self.kept.get(self.take()).await;
        taken.map_err(|error| object_store::Error::Generic { store: "Azure", source: Box::new(error) })
    }
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
}

//! Opening a container of Azure Blob Storage.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::azure::{AzureAccessKey, AzureCredential, MicrosoftAzureBuilder, split_sas};
use object_store::path::Path as ObjectPath;
use secrecy::{ExposeSecret, SecretString};

use crate::access::AzureAccess;
use crate::connector::Connector;
use crate::error::RemoteError;
use crate::folder::{Folder, Retries};
use crate::identity::Identity;
use crate::services::Services;

/// What a secret's value may be, as keys of JSON.
const FORMS: [&str; 3] = ["connection_string", "sas_token", "account_key"];

/// Opens a container.
pub(crate) fn open(
    services: &Services,
    (account, container): (&str, &str),
    prefix: ObjectPath,
    access: &AzureAccess,
    retries: Retries,
) -> Result<Folder, RemoteError> {
    let url = services.azure_account(account);
    let official = Services::default().azure_account(account);
    let connector = match url == official {
        true => Connector::official(),
        false => Connector::named(services.is_azure_plain(), services)?,
    };
    let builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_endpoint(url)
        .with_allow_http(services.is_azure_plain())
        .with_retry(retries.config());
    let fixed = |credential| Arc::new(StaticCredentialProvider::new(credential));
    let (builder, reader) = match access {
        AzureAccess::Public => (builder.with_skip_signature(true), "everybody"),
        AzureAccess::AccountKey { key } => (
            builder.with_credentials(fixed(AzureCredential::AccessKey(account_key(key)?))),
            "this account key",
        ),
        AzureAccess::Sas { token } => {
            (builder.with_credentials(fixed(AzureCredential::SASToken(sas(token)?))), "this SAS token")
        }
        AzureAccess::Identity { client_id, tenant_id } => {
            let identity = Identity::new(services, client_id, tenant_id)?;
            (builder.with_credentials(Arc::new(identity)), "this identity")
        }
    };
    let store = builder
        .with_http_connector(connector.clone())
        .build()
        .map_err(|source| RemoteError::internal("making an Azure client", source))?;
    let root = format!("{official}/{container}/");
    Ok(Folder::new(Arc::new(store), connector, "Azure", root, prefix, reader))
}

fn account_key(key: &SecretString) -> Result<AzureAccessKey, RemoteError> {
    AzureAccessKey::try_new(key.expose_secret())
        .map_err(|_| RemoteError::Refused("the account key is not base64".to_owned()))
}

fn sas(token: &SecretString) -> Result<Vec<(String, String)>, RemoteError> {
    let pairs = split_sas(token.expose_secret()).unwrap_or_default();
    if !pairs.iter().any(|(name, value)| name == "sig" && !value.is_empty()) {
        return Err(RemoteError::Refused("the SAS token has no signature (sig)".to_owned()));
    }
    Ok(pairs)
}

/// What a secret's value opens of an account: JSON with one of `connection_string`, `sas_token` and `account_key`, or one
/// of them as it is. The error says what is wrong, and nothing of the value.
pub fn access_of_secret(services: &Services, account: &str, value: &str) -> Result<AzureAccess, String> {
    let json: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(value).ok();
    let (form, text) = match &json {
        Some(json) => {
            let found: Vec<_> =
                json.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
            match found[..] {
                [(form, text)] if json.len() == 1 && FORMS.contains(&form) => (form, text),
                _ => {
                    return Err(format!(
                        "is JSON, and not of the form {{\"NAME\": \"...\"}} with one of {}",
                        FORMS.join(", ")
                    ));
                }
            }
        }
        None => (form_of(value), value),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let access = match form {
        "connection_string" => of_connection_string(services, account, text)?,
        "sas_token" => AzureAccess::Sas { token: text.to_owned().into() },
        _ => AzureAccess::AccountKey { key: text.to_owned().into() },
    };
    match &access {
        AzureAccess::Sas { token } => sas(token).map(drop).map_err(|error| error.to_string())?,
        AzureAccess::AccountKey { key } => account_key(key).map(drop).map_err(|error| error.to_string())?,
        AzureAccess::Public | AzureAccess::Identity { .. } => {}
    }
    Ok(access)
}

/// Which of [`FORMS`] a plain text has.
fn form_of(text: &str) -> &'static str {
    let has = |part: &str| text.contains(part);
    if has("AccountName=") || has("AccountKey=") || has("BlobEndpoint=") || has("SharedAccessSignature=") {
        "connection_string"
    } else if has("sig=") {
        "sas_token"
    } else {
        "account_key"
    }
}

/// Takes the key or the signature of a connection string. What it says of account and place must be what the URL of the
/// rows and the operator say: nobody else chooses whom this server asks.
fn of_connection_string(services: &Services, account: &str, text: &str) -> Result<AzureAccess, String> {
    let (mut key, mut sas) = (None, None);
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let (name, value) =
            part.trim().split_once('=').ok_or("the connection string has a part without \"=\"")?;
        match name {
            "AccountName" if value != account => {
                return Err("the connection string is of another account than the URL of the rows".to_owned());
            }
            "EndpointSuffix" if value != "core.windows.net" => {
                return Err(
                    "the connection string has another EndpointSuffix than core.windows.net".to_owned()
                );
            }
            "BlobEndpoint" => {
                let given = value.trim_end_matches('/');
                let known = [services.azure_account(account), Services::default().azure_account(account)];
                if !known.iter().any(|known| known == given) {
                    return Err(
                        "the BlobEndpoint of the connection string is not where this server asks for the \
                                account; leave it out"
                            .to_owned(),
                    );
                }
            }
            "AccountKey" => key = Some(value),
            "SharedAccessSignature" => sas = Some(value),
            "UseDevelopmentStorage" => {
                return Err("the connection string is of a development storage".to_owned());
            }
            // Of other services, or how the account is reached, which the operator says.
            _ => {}
        }
    }
    match (key, sas) {
        (Some(key), None) => Ok(AzureAccess::AccountKey { key: key.to_owned().into() }),
        (None, Some(sas)) => Ok(AzureAccess::Sas { token: sas.to_owned().into() }),
        _ => {
            Err("the connection string has not exactly one of AccountKey and SharedAccessSignature"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(access: &AzureAccess) -> String {
        match access {
            AzureAccess::Public => "public".to_owned(),
            AzureAccess::AccountKey { key } => format!("key {}", key.expose_secret()),
            AzureAccess::Sas { token } => format!("sas {}", token.expose_secret()),
            AzureAccess::Identity { .. } => "identity".to_owned(),
        }
    }

    #[test]
    fn values_of_secrets_are_read() {
        let services = Services::default().with_azure("http://127.0.0.1:10000").unwrap();
        let check = |value: &str, expect: &str| {
            let found = access_of_secret(&services, "acme1", value)
                .unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!(shown(&found), expect);
        };
        check(r#"{"account_key": "aHVzaA=="}"#, "key aHVzaA==");
        check("aHVzaA==", "key aHVzaA==");
        check(r#"{"sas_token": "?sv=1&sig=hush"}"#, "sas ?sv=1&sig=hush");
        check("sv=1&sig=hush", "sas sv=1&sig=hush");
        let string = "DefaultEndpointsProtocol=https;AccountName=acme1;AccountKey=aHVzaA==;EndpointSuffix=core.windows.net";
        check(string, "key aHVzaA==");
        check(&serde_json::json!({"connection_string": string}).to_string(), "key aHVzaA==");
        check(
            "BlobEndpoint=http://127.0.0.1:10000/acme1;SharedAccessSignature=sv=1&sig=hush",
            "sas sv=1&sig=hush",
        );
        check("BlobEndpoint=https://acme1.blob.core.windows.net/;AccountKey=aHVzaA==", "key aHVzaA==");
    }

    #[test]
    fn others_are_refused_without_being_shown() {
        let check = |value: &str| {
            let error = access_of_secret(&Services::default(), "acme1", value).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        };
        for value in [
            "",
            "hush!",
            "{}",
            r#"{"account_key": ["hush"]}"#,
            r#"{"account_key": "aHVzaA==", "sas_token": "sig=hush"}"#,
            r#"{"password": "hush"}"#,
            r#"{"sas_token": "sv=hush"}"#,
            "AccountName=other;AccountKey=aHVzaA==",
            "AccountName=acme1;AccountKey=hush!",
            "AccountName=acme1",
            "AccountKey=aHVzaA==;SharedAccessSignature=sig=hush",
            "AccountKey=aHVzaA==;BlobEndpoint=http://hush.internal/acme1",
            "AccountKey=aHVzaA==;EndpointSuffix=hush",
            "AccountName=acme1;AccountKey=aHVzaA==;hush",
            "UseDevelopmentStorage=true;AccountKey=aHVzaA==",
        ] {
            check(value);
        }
    }
}

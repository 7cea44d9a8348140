//! Opening a bucket of S3.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use secrecy::ExposeSecret;

use crate::access::{AccessKey, AwsAccess};
use crate::cause::unreachable;
use crate::connector::Connector;
use crate::error::RemoteError;
use crate::folder::{Folder, Retries};
use crate::role::Role;
use crate::services::{Services, is_region};

/// Header that says where a bucket is.
const REGION_HEADER: &str = "x-amz-bucket-region";
/// Keys of a secret's value that is JSON.
const SECRET_KEY_ID: &str = "aws_access_key_id";
/// See [`SECRET_KEY_ID`].
const SECRET_KEY: &str = "aws_secret_access_key";
/// See [`SECRET_KEY_ID`]; access keys that are given for a while have it.
const SESSION_TOKEN: &str = "aws_session_token";

/// Opens a bucket. Asks Amazon where it is, unless the operator has named another service.
pub(crate) async fn open(
    services: &Services,
    bucket: &str,
    prefix: ObjectPath,
    access: &AwsAccess,
    retries: Retries,
) -> Result<Folder, RemoteError> {
    let endpoint = services.s3.as_ref();
    let connector = match endpoint {
        Some(endpoint) => Connector::named(endpoint.url.is_plain(), services)?,
        None => Connector::official(),
    };
    let builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(retries.config());
    let builder = match endpoint {
        Some(endpoint) => builder
            .with_endpoint(endpoint.url.as_str())
            .with_region(&endpoint.region)
            .with_allow_http(endpoint.url.is_plain()),
        None => builder.with_region(region_of(&connector, bucket).await?),
    };
    let (builder, reader) = match access {
        AwsAccess::Public => (builder.with_skip_signature(true), "everybody"),
        AwsAccess::Key(key) => {
            let builder =
                builder.with_access_key_id(&key.id).with_secret_access_key(key.secret.expose_secret());
            let builder = match &key.token {
                Some(token) => builder.with_token(token.expose_secret()),
                None => builder,
            };
            (builder, "this access key")
        }
        AwsAccess::Role { arn, session } => {
            (builder.with_credentials(Arc::new(Role::new(services, arn, session)?)), "this role")
        }
    };
    let store = builder
        .with_http_connector(connector.clone())
        .build()
        .map_err(|source| RemoteError::internal("making an S3 client", source))?;
    Ok(Folder::new(Arc::new(store), connector, "S3", format!("s3://{bucket}/"), prefix, reader))
}

async fn region_of(connector: &Connector, bucket: &str) -> Result<String, RemoteError> {
    let (connector, url) = (connector.clone(), format!("https://s3.amazonaws.com/{bucket}"));
    let answer = tokio::task::spawn_blocking(move || connector.head(&url))
        .await
        .map_err(|source| RemoteError::internal("asking where a bucket is", source))?;
    let answer = answer.map_err(|error| unreachable("S3 cannot be reached", &error))?;
    if answer.status() == http::StatusCode::NOT_FOUND {
        return Err(RemoteError::NotFound(format!("S3 has no such bucket: {bucket}")));
    }
    let region = answer.headers().get(REGION_HEADER).and_then(|region| region.to_str().ok());
    match region.filter(|region| is_region(region)) {
        Some(region) => Ok(region.to_owned()),
        None => Err(RemoteError::Unreachable(format!("S3 does not say in which region bucket {bucket} is"))),
    }
}

/// The access key that a secret's value holds: JSON with both parts, and the token of one that is given for a while, or,
/// with an `id` from elsewhere, the secret part alone. The error says what is missing, and nothing of the value.
pub fn access_key_of_secret(id: &str, value: &str) -> Result<AccessKey, String> {
    let json: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(value).ok();
    let Some(json) = json else {
        if id.is_empty() {
            return Err(format!("is not JSON with {SECRET_KEY_ID} and {SECRET_KEY}"));
        }
        return Ok(AccessKey { id: id.to_owned(), secret: value.to_owned().into(), token: None });
    };
    let text = |key: &str| json.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let id = text(SECRET_KEY_ID).or_else(|| Some(id.to_owned()));
    match (id.filter(|id| !id.is_empty()), text(SECRET_KEY).filter(|secret| !secret.is_empty())) {
        (Some(id), Some(secret)) => {
            Ok(AccessKey { id, secret: secret.into(), token: text(SESSION_TOKEN).map(Into::into) })
        }
        _ => Err(format!("is JSON without {SECRET_KEY_ID} or {SECRET_KEY}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_secrets() {
        let check = |id: &str, value: &str, expect: Option<(&str, &str)>| {
            let found = access_key_of_secret(id, value);
            let shown = found.as_ref().ok().map(|key| (key.id.as_str(), key.secret.expose_secret()));
            assert_eq!(shown, expect, "{value}");
            assert!(found.err().is_none_or(|error| !error.contains("hush")), "{value}");
        };
        check("", r#"{"aws_access_key_id": "a", "aws_secret_access_key": "hush"}"#, Some(("a", "hush")));
        check("b", r#"{"aws_secret_access_key": "hush"}"#, Some(("b", "hush")));
        check("b", "hush", Some(("b", "hush")));
        let lasting = r#"{"aws_access_key_id": "a", "aws_secret_access_key": "hush", "aws_session_token": "hush-token"}"#;
        check("", lasting, Some(("a", "hush")));
        let token = access_key_of_secret("", lasting).unwrap().token.unwrap();
        assert_eq!(token.expose_secret(), "hush-token");
        check("", "hush", None);
        check("", r#"{"aws_secret_access_key": "hush"}"#, None);
        check("", r#"{"aws_access_key_id": "a", "aws_secret_access_key": ""}"#, None);
        check("", r#"{"aws_access_key_id": "a", "aws_secret_access_key": ["hush"]}"#, None);
    }
}

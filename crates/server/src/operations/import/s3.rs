//! Where an import copies from: a folder of an S3 bucket.
//!
//! A client names bucket and folder, never a host. The host is Amazon's, over https, or the one that the operator has
//! named; so an import cannot be made to ask machines of the server's own network.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hearth_domain::Code;
use hearth_domain::operation::ImportFile;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStore, RetryConfig};
use secrecy::{ExposeSecret, SecretString};

use super::http::Connector;
use crate::error::ServerError;
use crate::limits::{IMPORT_LISTED_MAX, IMPORT_RETRIES_MAX, IMPORT_RETRY_TIMEOUT};

/// Header that says where a bucket is.
const REGION_HEADER: &str = "x-amz-bucket-region";
/// Longest name of a region.
const REGION_MAX_CHARS: usize = 32;

/// An S3 service that is not Amazon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Endpoint {
    /// `https://host` or `http://host:port`.
    url: String,
    /// What requests to it are signed for.
    region: String,
}

impl S3Endpoint {
    /// Reads a URL. The error says what is expected.
    pub fn new(url: &str, region: &str) -> Result<Self, String> {
        let parsed = url.parse::<http::Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if parsed.is_none() {
            return Err(format!("{url:?} is not of the form https://host or http://host:port"));
        }
        if !is_region(region) {
            return Err(format!(
                "{region:?} is not a region; only lower-case letters, digits and hyphens are allowed"
            ));
        }
        Ok(Self { url: url.trim_end_matches('/').to_owned(), region: region.to_owned() })
    }
}

fn is_region(text: &str) -> bool {
    (1..=REGION_MAX_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// What is wrong with the name of a bucket, if something is: it becomes part of a URL.
pub(crate) fn bucket_problem(bucket: &str) -> Option<&'static str> {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_allowed = |c: char| is_edge(c) || c == '-' || c == '.';
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_allowed) || bucket.contains("..") {
        return Some("must have 3 to 63 lower-case letters, digits, hyphens and single dots");
    }
    let ends = [bucket.chars().next(), bucket.chars().last()];
    ends.iter().flatten().any(|c| !is_edge(*c)).then_some("must begin and end with a letter or a digit")
}

/// An access key of the bucket's owner.
pub(super) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: SecretString,
}

/// A folder that can be read.
pub(super) struct Folder {
    store: AmazonS3,
    connector: Connector,
    prefix: ObjectPath,
}

impl Folder {
    /// Opens a folder; without a key the bucket must be public. Asks Amazon where the bucket is.
    pub(super) async fn open(
        endpoint: Option<&S3Endpoint>,
        bucket: &str,
        prefix: &str,
        key: Option<&AccessKey>,
    ) -> Result<Self, ServerError> {
        let prefix = parse_prefix(prefix)?;
        let connector = Connector::new(endpoint.is_some_and(|endpoint| endpoint.url.starts_with("http://")));
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_retry(RetryConfig {
            max_retries: IMPORT_RETRIES_MAX,
            retry_timeout: IMPORT_RETRY_TIMEOUT,
            ..RetryConfig::default()
        });
        builder = match endpoint {
            Some(endpoint) => builder
                .with_endpoint(&endpoint.url)
                .with_region(&endpoint.region)
                .with_allow_http(endpoint.url.starts_with("http://")),
            None => builder.with_region(region_of(&connector, bucket).await?),
        };
        builder = match key {
            Some(key) => {
                builder.with_access_key_id(&key.id).with_secret_access_key(key.secret.expose_secret())
            }
            None => builder.with_skip_signature(true),
        };
        let store = builder
            .with_http_connector(connector.clone())
            .build()
            .map_err(|source| ServerError::internal("making an S3 client", source))?;
        Ok(Self { store, connector, prefix })
    }

    /// All files below the folder, by their names in it.
    pub(super) async fn list(&self) -> Result<Vec<ImportFile>, ServerError> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut found = Vec::new();
        let mut objects = self.store.list(prefix);
        while let Some(object) = objects.try_next().await.map_err(|error| self.not_listed(error))? {
            let name = match object.location.prefix_match(&self.prefix) {
                Some(parts) => parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"),
                None => continue,
            };
            // Consoles make empty objects that stand for folders.
            if name.is_empty() || (object.size == 0 && object.location.as_ref().ends_with('/')) {
                continue;
            }
            if found.len() == IMPORT_LISTED_MAX {
                return Err(ServerError::invalid(format!(
                    "awsS3Source.s3Path: the folder has more than {IMPORT_LISTED_MAX} objects"
                )));
            }
            let key = object.location.to_string();
            found.push(ImportFile { name, key, size_bytes: object.size, e_tag: object.e_tag });
        }
        Ok(found)
    }

    fn not_listed(&self, error: object_store::Error) -> ServerError {
        match self.connector.last_status() {
            404 => ServerError::NotFound("S3 has no such bucket".to_owned()),
            401 | 403 => not_permitted(),
            _ => refused(error),
        }
    }

    /// Bytes of a file from `first` on, up to `end`. ABORTED if it is not the file that was listed any more.
    pub(super) async fn read(
        &self,
        file: &ImportFile,
        first: u64,
        end: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>, ServerError>
    {
        let path = ObjectPath::parse(&file.key)
            .map_err(|source| ServerError::internal("reading the key of an object", source))?;
        let options = GetOptions {
            range: Some(GetRange::Bounded(first..end)),
            if_match: file.e_tag.clone(),
            ..GetOptions::default()
        };
        let got = self.store.get_opts(&path, options).await.map_err(refused)?;
        if got.meta.size != file.size_bytes {
            return Err(changed());
        }
        Ok(got.into_stream().map_err(Into::into).boxed())
    }
}

fn parse_prefix(text: &str) -> Result<ObjectPath, ServerError> {
    ObjectPath::parse(text.trim_matches('/')).map_err(|_| {
        ServerError::field("awsS3Source.s3Path", "is not a path of names divided by single slashes")
    })
}

/// Fails with INVALID_ARGUMENT if this is no folder's path.
pub(crate) fn check_prefix(text: &str) -> Result<(), ServerError> {
    parse_prefix(text).map(drop)
}

async fn region_of(connector: &Connector, bucket: &str) -> Result<String, ServerError> {
    let (connector, url) = (connector.clone(), format!("https://s3.amazonaws.com/{bucket}"));
    let answer = tokio::task::spawn_blocking(move || connector.head(&url))
        .await
        .map_err(|source| ServerError::internal("asking where a bucket is", source))?;
    let answer = answer.map_err(|_| unreachable())?;
    if answer.status() == http::StatusCode::NOT_FOUND {
        return Err(ServerError::NotFound(format!("there is no bucket {bucket}")));
    }
    let region = answer.headers().get(REGION_HEADER).and_then(|region| region.to_str().ok());
    match region.filter(|region| is_region(region)) {
        Some(region) => Ok(region.to_owned()),
        None => Err(ServerError::Unavailable(format!("S3 does not say in which region bucket {bucket} is"))),
    }
}

fn unreachable() -> ServerError {
    ServerError::Unavailable("S3 cannot be reached; the operation can be begun again".to_owned())
}

/// S3 tells unknown keys and wrong secrets with the same status as keys that may not read.
fn not_permitted() -> ServerError {
    ServerError::PermissionDenied(
        "S3 does not let this access key read the bucket; key and secret may be wrong too".to_owned(),
    )
}

pub(super) fn changed() -> ServerError {
    ServerError::Ended(hearth_domain::Status::new(
        Code::Aborted,
        "a file changed while it was copied; begin the import again",
    ))
}

/// What S3 refused, in our words: its own answers repeat access keys.
fn refused(error: object_store::Error) -> ServerError {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => {
            ServerError::NotFound("S3 has no such bucket, or a file is gone that was there".to_owned())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => not_permitted(),
        Error::Precondition { .. } => changed(),
        Error::Generic { .. } => unreachable(),
        other => ServerError::internal("reading from S3", other),
    }
}

//! Where the services are that files are read from, and by what this server shows who it is: the operator's choice.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// Region that requests are signed for when nobody says another.
pub const DEFAULT_REGION: &str = "us-east-1";
/// Longest name of a region.
const REGION_MAX_CHARS: usize = 32;

/// What an operator says about services. By default they are Amazon's and Microsoft's own, and this server has no
/// identity there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// S3, if not Amazon's.
    pub s3: Option<S3Endpoint>,
    /// How roles at Amazon are taken; `None`: they cannot be.
    pub sts: Option<StsConfig>,
    /// Azure Blob Storage, if not Microsoft's: containers are at `{endpoint}/{account}/{container}`.
    azure: Option<Endpoint>,
    /// How identities at Azure are taken; `None`: they cannot be.
    pub azure_identity: Option<AzureIdentity>,
    /// PEM file of the authorities of the services that are named, in place of the usual ones. Amazon's and Microsoft's
    /// own are checked with the usual ones all the same.
    pub ca_file: Option<PathBuf>,
}

impl Services {
    /// The same with another Azure Blob Storage than Microsoft's. The error says what is expected.
    pub fn with_azure(mut self, url: &str) -> Result<Self, String> {
        self.azure = Some(Endpoint::new(url)?);
        Ok(self)
    }

    /// URL of an account's blobs.
    pub(crate) fn azure_account(&self, account: &str) -> String {
        match &self.azure {
            Some(endpoint) => format!("{}/{account}", endpoint.as_str()),
            None => format!("https://{account}.blob.core.windows.net"),
        }
    }

    pub(crate) fn is_azure_plain(&self) -> bool {
        self.azure.as_ref().is_some_and(Endpoint::is_plain)
    }
}

/// An S3 service that is not Amazon's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Endpoint {
    pub(crate) url: Endpoint,
    /// What requests to it are signed for.
    pub(crate) region: String,
}

impl S3Endpoint {
    /// Reads a URL. The error says what is expected.
    pub fn new(url: &str, region: &str) -> Result<Self, String> {
        Ok(Self { url: Endpoint::new(url)?, region: checked_region(region)? })
    }
}

/// What takes roles at Amazon, with a token that says who this server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsConfig {
    pub(crate) url: Endpoint,
    /// Whether it is Amazon's own.
    #[serde(default)]
    pub(crate) is_official: bool,
    /// File with the token (a JWT of an authority that the roles trust). It is read anew each time.
    pub(crate) token_file: PathBuf,
}

impl StsConfig {
    /// With a URL, or Amazon's service in a region. The error says what is expected.
    pub fn new(url: Option<&str>, region: Option<&str>, token_file: PathBuf) -> Result<Self, String> {
        let region = checked_region(region.unwrap_or(DEFAULT_REGION))?;
        let is_official = url.is_none();
        let url = match url {
            Some(url) => Endpoint::new(url)?,
            None => Endpoint::new(&format!("https://sts.{region}.amazonaws.com"))?,
        };
        Ok(Self { url, is_official, token_file })
    }
}

/// What gives tokens for identities at Azure, with a token that says who this server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AzureIdentity {
    pub(crate) url: Endpoint,
    /// Whether it is Microsoft's own.
    #[serde(default)]
    pub(crate) is_official: bool,
    /// File with the token (a JWT of an authority that the identities trust). It is read anew each time.
    pub(crate) token_file: PathBuf,
}

impl AzureIdentity {
    /// With a URL, or Microsoft's service. The error says what is expected.
    pub fn new(url: Option<&str>, token_file: PathBuf) -> Result<Self, String> {
        let is_official = url.is_none();
        let url = Endpoint::new(url.unwrap_or("https://login.microsoftonline.com"))?;
        Ok(Self { url, is_official, token_file })
    }
}

fn checked_region(region: &str) -> Result<String, String> {
    if is_region(region) {
        return Ok(region.to_owned());
    }
    Err(format!("{region:?} is not a region; only lower-case letters, digits and hyphens are allowed"))
}

pub(crate) fn is_region(text: &str) -> bool {
    (1..=REGION_MAX_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

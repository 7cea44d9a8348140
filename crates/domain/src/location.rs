//! Places outside of this server where rows and models lie: what their URLs may look like.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::DatasetFile;
use crate::id::AccountId;

/// Host of the blobs of an Azure account, behind the account's name.
const AZURE_BLOB_HOST: &str = ".blob.core.windows.net";
/// The same by the account's other name.
const AZURE_DFS_HOST: &str = ".dfs.core.windows.net";
/// Longest URL, in bytes.
const URL_MAX_BYTES: usize = 2048;
/// What URLs may look like.
const FORMS: &str = "use s3://BUCKET/PATH.jsonl, https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH.jsonl or \
                     abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH.jsonl, or a folder, which ends with a slash";

/// A file with rows, or a folder of such files. It names no host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "snake_case")]
pub enum Location {
    /// In S3.
    S3 {
        /// Which bucket.
        bucket: String,
        /// Key of the file, or the beginning of keys if it is empty or ends with a slash.
        path: String,
    },
    /// In Azure Blob Storage.
    Azure {
        /// Which account.
        account: String,
        /// Which of its containers.
        container: String,
        /// Name of the blob, or the beginning of names.
        path: String,
    },
}

/// Why a URL names no place that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is not written as it must be.
    #[error("{0}")]
    Malformed(String),
    /// It names a service that this server cannot read.
    #[error("{0}")]
    Unsupported(String),
}

impl Location {
    /// Reads a URL of rows.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        let malformed = |what: &str| LocationError::Malformed(format!("{what}; {FORMS}"));
        if url.len() > URL_MAX_BYTES || url.chars().any(|c| c.is_control() || c == '\\') {
            return Err(malformed("is too long, or has a control character or a backslash"));
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("is not a URL"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let location = match scheme {
            "s3" => {
                if let Some(problem) = bucket_problem(host) {
                    return Err(malformed(&format!("the name of the bucket {problem}")));
                }
                Self::S3 { bucket: host.to_owned(), path: path.to_owned() }
            }
            "https" if host.ends_with(AZURE_BLOB_HOST) => {
                if path.contains(['?', '#']) {
                    // Nothing of it is repeated: it may hold a signature.
                    return Err(malformed(
                        "has a query or a fragment; what opens the container belongs into a secret",
                    ));
                }
                let path = decoded(path).ok_or_else(|| malformed("has a bad percent escape"))?;
                let (container, path) = path.split_once('/').unwrap_or((&path, ""));
                azure(host.strip_suffix(AZURE_BLOB_HOST).unwrap_or_default(), container, path)
                    .map_err(|what| malformed(&what))?
            }
            "abfs" | "abfss" => {
                let (container, host) =
                    host.split_once('@').ok_or_else(|| malformed("has no container before an @"))?;
                let account = host
                    .strip_suffix(AZURE_DFS_HOST)
                    .ok_or_else(|| malformed("the host is not ACCOUNT.dfs.core.windows.net"))?;
                azure(account, container, path).map_err(|what| malformed(&what))?
            }
            "gs" | "gcs" => {
                return Err(LocationError::Unsupported(format!(
                    "this server cannot read Google Cloud Storage (gs://); {FORMS}"
                )));
            }
            "az" | "azure" => {
                return Err(LocationError::Unsupported(format!(
                    "{scheme}:// does not say which account the container belongs to; {FORMS}"
                )));
            }
            "http" | "https" => {
                return Err(LocationError::Unsupported(format!(
                    "rows are not read from any web server; {FORMS}"
                )));
            }
            _ => {
                return Err(LocationError::Unsupported(format!(
                    "this server cannot read {:?} URLs; {FORMS}",
                    scheme.chars().take(16).collect::<String>()
                )));
            }
        };
        let path = location.path();
        if path.strip_suffix('/').unwrap_or(path).split('/').any(|part| matches!(part, "" | "." | ".."))
            && !path.is_empty()
        {
            return Err(malformed("the path is not one of names divided by single slashes"));
        }
        if !location.is_folder() && !DatasetFile::is_rows_name(path) {
            return Err(malformed(
                "names neither a .jsonl, .jsonl.gz or .jsonl.zst file nor a folder, which ends with a slash",
            ));
        }
        Ok(location)
    }

    /// Where in its bucket or container it is.
    pub fn path(&self) -> &str {
        match self {
            Self::S3 { path, .. } | Self::Azure { path, .. } => path,
        }
    }

    /// Whether it is a folder of files, not one file.
    pub fn is_folder(&self) -> bool {
        self.path().is_empty() || self.path().ends_with('/')
    }

    /// The bucket or container, as a URL that paths are appended to.
    pub fn root(&self) -> String {
        match self {
            Self::S3 { bucket, .. } => format!("s3://{bucket}/"),
            Self::Azure { account, container, .. } => {
                format!("https://{account}{AZURE_BLOB_HOST}/{container}/")
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.root(), self.path())
    }
}

fn azure(account: &str, container: &str, path: &str) -> Result<Location, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(3..=24).contains(&account.len()) || !account.chars().all(is_plain) {
        return Err("the name of the account must have 3 to 24 lower-case letters and digits".to_owned());
    }
    let is_hyphen_well =
        !container.starts_with('-') && !container.ends_with('-') && !container.contains("--");
    let is_known = container == "$root"
        || ((3..=63).contains(&container.len())
            && container.chars().all(|c| is_plain(c) || c == '-')
            && is_hyphen_well);
    if !is_known {
        return Err(
            "the name of the container must have 3 to 63 lower-case letters, digits and single hyphens"
                .to_owned(),
        );
    }
    Ok(Location::Azure {
        account: account.to_owned(),
        container: container.to_owned(),
        path: path.to_owned(),
    })
}

/// Without percent escapes; `None` if one is wrong, or if they are not UTF-8 or hide a control character.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(|c| c.is_control() || c == '\\'))
}

/// What is wrong with the name of a bucket, if something is: it becomes part of a URL.
pub fn bucket_problem(bucket: &str) -> Option<&'static str> {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_allowed = |c: char| is_edge(c) || c == '-' || c == '.';
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_allowed) || bucket.contains("..") {
        return Some("must have 3 to 63 lower-case letters, digits, hyphens and single dots");
    }
    let ends = [bucket.chars().next(), bucket.chars().last()];
    ends.iter().flatten().any(|c| !is_edge(*c)).then_some("must begin and end with a letter or a digit")
}

/// Longest ARN of a role.
const ROLE_ARN_MAX_BYTES: usize = 2048;
/// Longest name of a session.
const SESSION_MAX_BYTES: usize = 64;

/// What is wrong with the ARN of a role at Amazon, if something is.
pub fn role_arn_problem(arn: &str) -> Option<&'static str> {
    let is_role = || {
        let (partition, rest) = arn.strip_prefix("arn:")?.split_once(":iam::")?;
        let (account, role) = rest.split_once(":role/")?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c);
        let is_known = matches!(partition, "aws" | "aws-cn" | "aws-us-gov")
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && !role.is_empty()
            && role.chars().all(is_plain)
            && arn.len() <= ROLE_ARN_MAX_BYTES;
        is_known.then_some(())
    };
    match is_role() {
        Some(()) => None,
        None => Some("is not of the form arn:aws:iam::123456789012:role/NAME"),
    }
}

/// What the sessions of an account's roles are called: the owner of a role may trust one account of this server alone.
pub fn role_session(account: &AccountId) -> String {
    let mut name = format!("hearth-{account}");
    name.truncate(SESSION_MAX_BYTES);
    name
}

/// A file that lies elsewhere, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Its name below the folder.
    pub name: String,
    /// Its key in the bucket.
    pub key: String,
    /// Size.
    pub size_bytes: u64,
    /// What changes when it changes, if the service tells.
    pub e_tag: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_arns() {
        for arn in
            ["arn:aws:iam::123456789012:role/reader", "arn:aws-cn:iam::123456789012:role/a/b_c+d=e,f.g@h-i"]
        {
            assert_eq!(role_arn_problem(arn), None, "{arn}");
        }
        for arn in [
            "",
            "reader",
            "arn:aws:iam::12345:role/reader",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:user/reader",
            "arn:other:iam::123456789012:role/reader",
            "arn:aws:iam::123456789012:role/a b",
        ] {
            assert!(role_arn_problem(arn).is_some(), "{arn}");
        }
        assert_eq!(role_session(&AccountId::new("acme").unwrap()), "hearth-acme");
    }

    #[test]
    fn urls_are_read() {
        let check = |url: &str, expect: &str, is_folder: bool| {
            let found = Location::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((found.to_string().as_str(), found.is_folder()), (expect, is_folder), "{url}");
        };
        check("s3://my.bucket/a/rows.jsonl", "s3://my.bucket/a/rows.jsonl", false);
        check("s3://my.bucket/a%20b?/", "s3://my.bucket/a%20b?/", true);
        check("s3://my.bucket", "s3://my.bucket/", true);
        let blob = "https://acme1.blob.core.windows.net/rows/a b/c.jsonl";
        check("https://acme1.blob.core.windows.net/rows/a%20b/c.jsonl", blob, false);
        check("abfss://rows@acme1.dfs.core.windows.net/a b/c.jsonl", blob, false);
        check("abfs://rows@acme1.dfs.core.windows.net/", "https://acme1.blob.core.windows.net/rows/", true);
    }

    #[test]
    fn others_are_refused() {
        let check = |url: &str, is_unsupported: bool| {
            let error = Location::parse(url).unwrap_err();
            assert_eq!(matches!(error, LocationError::Unsupported(_)), is_unsupported, "{url}: {error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        };
        for url in
            ["gs://b/rows.jsonl", "az://rows/x.jsonl", "https://example.org/rows.jsonl", "file:///a.jsonl"]
        {
            check(url, true);
        }
        for url in [
            "rows.jsonl",
            "s3://Bucket/rows.jsonl",
            "s3://u@h/rows.jsonl",
            "s3://bucket/rows.csv",
            "s3://bucket//rows.jsonl",
            "s3://bucket/../rows.jsonl",
            "s3://bucket/a//",
            "s3://bucket/\u{7}.jsonl",
            "https://acme1.blob.core.windows.net/rows/x.jsonl?sig=hush",
            "https://acme1.blob.core.windows.net/rows/%2e%2e/x.jsonl",
            "https://acme1.blob.core.windows.net/rows/%+1x.jsonl",
            "https://acme1.blob.core.windows.net/rows/x%0a.jsonl",
            "https://Acme.blob.core.windows.net/rows/x.jsonl",
            "https://a.b.blob.core.windows.net/rows/x.jsonl",
            "https://acme1.blob.core.windows.net/ro--ws/x.jsonl",
            "https://acme1.blob.core.windows.net/",
            "abfss://rows@example.org/x.jsonl",
            "abfss://acme1.dfs.core.windows.net/x.jsonl",
        ] {
            check(url, false);
        }
        check(&format!("s3://bucket/{}.jsonl", "x".repeat(URL_MAX_BYTES)), false);
    }
}

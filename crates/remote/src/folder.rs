//! A folder of a bucket that can be read, whatever service it is of.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hearth_domain::{Location, RemoteFile};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};

use crate::access::{AwsAccess, AzureAccess};
use crate::cause::unreachable;
use crate::connector::Connector;
use crate::error::RemoteError;
use crate::services::Services;
use crate::{azure, s3};

/// Bytes as they come. An error is a connection that broke.
pub type ByteStream = BoxStream<'static, Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// How often a request is made again, before whoever asked hears of it.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Times.
    pub most: usize,
    /// Longest time for one request with all its repetitions, before its body comes.
    pub timeout: Duration,
}

impl Retries {
    pub(crate) fn config(self) -> RetryConfig {
        RetryConfig { max_retries: self.most, retry_timeout: self.timeout, ..RetryConfig::default() }
    }
}

/// A folder that can be read.
pub struct Folder {
    store: Arc<dyn ObjectStore>,
    connector: Connector,
    /// `S3` or `Azure`.
    service: &'static str,
    /// URL of the bucket, with a slash at its end.
    root: String,
    prefix: ObjectPath,
    /// Who reads, for errors.
    reader: &'static str,
}

impl Folder {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        connector: Connector,
        service: &'static str,
        root: String,
        prefix: ObjectPath,
        reader: &'static str,
    ) -> Self {
        Self { store, connector, service, root, prefix, reader }
    }

    /// Opens a folder of S3.
    pub async fn open_s3(
        services: &Services,
        bucket: &str,
        prefix: &str,
        access: &AwsAccess,
        retries: Retries,
    ) -> Result<Self, RemoteError> {
        s3::open(services, bucket, parsed_prefix(prefix)?, access, retries).await
    }

    /// Opens the folder that a location is, or the bucket that its one file is in.
    pub async fn open(
        services: &Services,
        location: &Location,
        (aws, azure): (&AwsAccess, &AzureAccess),
        retries: Retries,
    ) -> Result<Self, RemoteError> {
        let prefix =
            if location.is_folder() { parsed_prefix(location.path())? } else { ObjectPath::default() };
        match location {
            Location::S3 { bucket, .. } => s3::open(services, bucket, prefix, aws, retries).await,
            Location::Azure { account, container, .. } => {
                azure::open(services, (account, container), prefix, azure, retries)
            }
        }
    }

    /// All files below the folder, by their names in it; fails with more than `most`.
    pub async fn list(&self, most: usize) -> Result<Vec<RemoteFile>, RemoteError> {
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut found = Vec::new();
        let mut objects = self.store.list(prefix);
        while let Some(object) = objects.try_next().await.map_err(|error| self.refused("", error))? {
            let name = match object.location.prefix_match(&self.prefix) {
                Some(parts) => parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"),
                None => continue,
            };
            if name.is_empty() {
                continue;
            }
            if found.len() == most {
                return Err(RemoteError::Invalid(format!("the folder has more than {most} objects")));
            }
            found.push(file(name, object));
        }
        Ok(without_folders(found))
    }

    /// What is known of one file, by its key.
    pub async fn look_up(&self, key: &str) -> Result<RemoteFile, RemoteError> {
        let found = self.store.head(&parsed(key)?).await.map_err(|error| self.refused(key, error))?;
        Ok(file(key.to_owned(), found))
    }

    /// Bytes of a file from `first` on, up to `end`. Fails if it is not the file that was listed any more.
    pub async fn read(&self, file: &RemoteFile, first: u64, end: u64) -> Result<ByteStream, RemoteError> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(first..end)),
            if_match: file.e_tag.clone(),
            ..GetOptions::default()
        };
        let got = self
            .store
            .get_opts(&parsed(&file.key)?, options)
            .await
            .map_err(|error| self.refused(&file.key, error))?;
        let is_same = got.meta.size == file.size_bytes
            && got.range == (first..end)
            && (file.e_tag.is_none() || got.meta.e_tag.clone().map(quoted) == file.e_tag);
        if !is_same {
            return Err(self.changed(file));
        }
        Ok(got.into_stream().map_err(Into::into).boxed())
    }

    /// The error of a file that is another one than at first.
    pub fn changed(&self, file: &RemoteFile) -> RemoteError {
        RemoteError::Changed(format!("{}{} changed while it was copied; begin again", self.root, file.key))
    }

    /// What a service refused, in our words: its own answers repeat access keys. `key` is empty for the bucket.
    fn refused(&self, key: &str, error: object_store::Error) -> RemoteError {
        use object_store::Error;
        let (service, what) = (self.service, format!("{}{key}", self.root));
        let not_found = || match key {
            "" => RemoteError::NotFound(format!("{service} has no such bucket: {what}")),
            _ => RemoteError::NotFound(format!("{service} has no such file, or no such bucket: {what}")),
        };
        let denied = || {
            // Services tell unknown keys and wrong secrets with the same status as keys that may not read.
            let hint = match self.reader {
                "everybody" => "say what opens it",
                _ => "what it is read with may be wrong too",
            };
            RemoteError::Denied(format!("{service} does not let {} read {what}; {hint}", self.reader))
        };
        match error {
            Error::NotFound { .. } => not_found(),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => denied(),
            Error::Precondition { .. } => {
                RemoteError::Changed(format!("{what} changed while it was copied; begin again"))
            }
            Error::Generic { source, .. } => match source.downcast::<RemoteError>() {
                // What gives tokens says itself what is wrong.
                Ok(error) => *error,
                Err(error) => match self.connector.last_status() {
                    404 => not_found(),
                    401 | 403 => denied(),
                    416 => RemoteError::Changed(format!("{what} changed while it was copied; begin again")),
                    status @ (300..=407 | 409..=428 | 430..=499) => RemoteError::Refused(format!(
                        "{service} answers the request for {what} with status {status}"
                    )),
                    0 => unreachable(&format!("{service} cannot be reached for {what}"), &*error),
                    status => RemoteError::Unreachable(format!(
                        "{service} cannot be reached for {what} (status {status})"
                    )),
                },
            },
            Error::InvalidPath { .. } => RemoteError::Invalid(format!(
                "a key below {what}{} is not a path of names divided by single slashes; rename or move it",
                self.prefix
            )),
            other => RemoteError::internal("reading from a storage service", other),
        }
    }
}

/// Without the empty objects that consoles make to stand for folders.
fn without_folders(mut found: Vec<RemoteFile>) -> Vec<RemoteFile> {
    let folders: HashSet<String> = found
        .iter()
        .flat_map(|file| file.name.match_indices('/').map(|(end, _)| file.name[..end].to_owned()))
        .collect();
    found.retain(|file| file.size_bytes > 0 || !folders.contains(&file.name));
    found
}

fn file(name: String, object: ObjectMeta) -> RemoteFile {
    let e_tag = object.e_tag.map(quoted);
    RemoteFile { name, key: object.location.to_string(), size_bytes: object.size, e_tag }
}

/// Lists of Azure have tags without the quotes that headers have.
fn quoted(e_tag: String) -> String {
    if e_tag.ends_with('"') { e_tag } else { format!("\"{e_tag}\"") }
}

fn parsed(key: &str) -> Result<ObjectPath, RemoteError> {
    ObjectPath::parse(key).map_err(|_| {
        RemoteError::Invalid(format!("{key:?} is not a path of names divided by single slashes"))
    })
}

fn parsed_prefix(text: &str) -> Result<ObjectPath, RemoteError> {
    ObjectPath::parse(text.trim_matches('/'))
        .map_err(|_| RemoteError::Invalid("is not a path of names divided by single slashes".to_owned()))
}

/// Fails if this is no folder's path.
pub fn check_prefix(text: &str) -> Result<(), RemoteError> {
    parsed_prefix(text).map(drop)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn folder(keys: &[(&str, &'static str)]) -> Folder {
        let store = InMemory::new();
        for (key, content) in keys {
            store.put(&ObjectPath::from(*key), Bytes::from_static(content.as_bytes()).into()).await.unwrap();
        }
        let prefix = parsed_prefix("train/").unwrap();
        Folder::new(Arc::new(store), Connector::official(), "S3", "s3://b/".to_owned(), prefix, "this key")
    }

    #[tokio::test]
    async fn what_stands_for_a_folder_is_no_file() {
        let keys = [("train", ""), ("train/sub", ""), ("train/sub/a.jsonl", "x"), ("train/empty.jsonl", "")];
        let found = folder(&keys).await.list(10).await.unwrap();
        let mut names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["empty.jsonl", "sub/a.jsonl"]);
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_a_path_is_named_as_what_it_is() {
        let source = ObjectPath::parse("train//old.jsonl").unwrap_err();
        let error = folder(&[]).await.refused("", object_store::Error::InvalidPath { source });
        assert!(
            matches!(&error, RemoteError::Invalid(text) if text.contains("a key below s3://b/train is")),
            "{error}"
        );
    }
}

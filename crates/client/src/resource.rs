//! The standard methods on resources: every collection of the API answers to the same few verbs.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::unversioned::multipart::{Form, Part};

use crate::{Client, ClientError};

/// Page size that lists ask for.
const PAGE_SIZE: &str = "200";
/// Largest file that the API takes as a form; larger ones go to a signed URL.
const MULTIPART_MAX_BYTES: u64 = 150_000_000;
/// Most pages that one list follows.
const MAX_PAGES: usize = 10_000;

/// Times that a page of a search is asked for while others are going on.
const SEARCH_TRIES_MAX: u32 = 10;
/// Pause before it is asked for again.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// What models say of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowUses {
    /// What became of it, each as the server tells it.
    pub uses: Vec<Value>,
    /// Models whose ledger cannot be read, so that it is not known.
    pub unreadable_models: Vec<String>,
}

impl Client {
    /// Reads one resource, for example `accounts/a/datasets/d`.
    pub fn get(&self, name: &str) -> Result<Value, ClientError> {
        let url = self.resource_url(name);
        self.answer(self.request(self.agent.get(url)).call()).and_then(|answer| self.json(answer))
    }

    /// Reads all resources of a collection, for example parent `accounts/a` and collection `datasets`.
    pub fn list(&self, parent: &str, collection: &str) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        self.each_page(&self.resource_url(&format!("{parent}/{collection}")), &[], 1, |page| {
            let Some(found) = page[collection].as_array() else {
                return Err(self.protocol(format!("a list has no {collection:?}")));
            };
            items.extend(found.iter().cloned());
            Ok(())
        })?;
        Ok(items)
    }

    /// What became of a row in the jobs that made the models of an account, by the row's digest. A page is asked for again
    /// while too many searches are going on.
    pub fn model_find_by_row(&self, account: &str, row_digest: &str) -> Result<RowUses, ClientError> {
        let url = format!("{}:findByRow", self.resource_url(&format!("accounts/{account}/models")));
        let mut found = RowUses::default();
        self.each_page(&url, &[("rowDigest", row_digest)], SEARCH_TRIES_MAX, |page| {
            let list = |field: &str| page[field].as_array().cloned().unwrap_or_default();
            found.uses.extend(list("uses"));
            let names = list("unreadableModels");
            found.unreadable_models.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
            Ok(())
        })?;
        Ok(found)
    }

    /// Gives each page of a list to `take`. One that the server has too much to do for is asked for `tries` times.
    fn each_page(
        &self,
        url: &str,
        query: &[(&str, &str)],
        tries: u32,
        mut take: impl FnMut(&Value) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut page_token = String::new();
        for _ in 0..MAX_PAGES {
            let ask = || {
                let mut request = self.request(self.agent.get(url)).query("pageSize", PAGE_SIZE);
                for (key, value) in query {
                    request = request.query(key, value);
                }
                if !page_token.is_empty() {
                    request = request.query("pageToken", &page_token);
                }
                self.answer(request.call()).and_then(|answer| self.json(answer))
            };
            let mut page = ask();
            for _ in 1..tries {
                match &page {
                    Err(error) if error.code() == Some("RESOURCE_EXHAUSTED") => {
                        std::thread::sleep(SEARCH_PAUSE);
                        page = ask();
                    }
                    _ => break,
                }
            }
            let page: Value = page?;
            take(&page)?;
            page_token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if page_token.is_empty() {
                return Ok(());
            }
        }
        Err(self.protocol(format!("a list has more than {MAX_PAGES} pages")))
    }

    /// Creates a resource; `collection_path` is for example `accounts/a/supervisedFineTuningJobs`.
    pub fn create(
        &self,
        collection_path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, ClientError> {
        let mut request = self.request(self.agent.post(self.resource_url(collection_path)));
        for (key, value) in query {
            request = request.query(key, value);
        }
        self.answer(request.send_json(body)).and_then(|answer| self.json(answer))
    }

    /// Changes a resource: the fields that the body has.
    pub fn update(&self, name: &str, body: &Value) -> Result<Value, ClientError> {
        let request = self.request(self.agent.patch(self.resource_url(name)));
        self.answer(request.send_json(body)).and_then(|answer| self.json(answer))
    }

    /// Deletes a resource.
    pub fn delete(&self, name: &str) -> Result<(), ClientError> {
        let url = self.resource_url(name);
        self.answer(self.request(self.agent.delete(url)).call()).map(drop)
    }

    /// A custom method by POST, for example `cancel` of a job.
    pub fn act(&self, name: &str, verb: &str, body: &Value) -> Result<Value, ClientError> {
        let url = format!("{}:{verb}", self.resource_url(name));
        let request = self.request(self.agent.post(url));
        self.answer(request.send_json(body)).and_then(|answer| self.json(answer))
    }

    /// Creates an empty dataset that waits for its upload.
    pub fn dataset_create(&self, account: &str, id: &str) -> Result<Value, ClientError> {
        let body = json!({ "datasetId": id, "dataset": { "userUploaded": {} } });
        self.create(&format!("accounts/{account}/datasets"), &[], &body)
    }

    /// Uploads a file as the content of a dataset, by the way that its size asks for. If it breaks off, it can be
    /// repeated.
    pub fn dataset_upload_file(&self, name: &str, path: &Path) -> Result<(), ClientError> {
        let cannot_read = |source| ClientError::Io { path: path.to_owned(), source };
        let metadata = path.metadata().map_err(cannot_read)?;
        if metadata.is_dir() {
            return Err(cannot_read(std::io::ErrorKind::IsADirectory.into()));
        }
        if metadata.len() > MULTIPART_MAX_BYTES {
            return self.upload_signed(name, path, metadata.len());
        }
        self.upload(name, Part::file(path).map_err(cannot_read)?)
    }

    /// The way for large files: a signed URL takes the bytes, then the server checks them.
    fn upload_signed(&self, name: &str, path: &Path, size_bytes: u64) -> Result<(), ClientError> {
        let cannot_read = |source| ClientError::Io { path: path.to_owned(), source };
        // The server asks for this ending; the local name does not matter to it.
        let file_name = "rows.jsonl";
        let body = json!({ "filenameToSize": { file_name: size_bytes.to_string() } });
        let answer = self.act(name, "getUploadEndpoint", &body)?;
        let url = answer["filenameToSignedUrls"][file_name]
            .as_str()
            .ok_or_else(|| self.protocol("an upload endpoint without a signed URL"))?;
        let file = File::open(path).map_err(cannot_read)?;
        let request = self.agent.put(url).header("content-type", "application/octet-stream");
        self.answer(request.send(file))?;
        self.act(name, "validateUpload", &json!({})).map(drop)
    }

    /// Uploads bytes as the content of a dataset.
    pub fn dataset_upload_bytes(&self, name: &str, file_name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        self.upload(name, Part::bytes(bytes).file_name(file_name))
    }

    fn upload(&self, name: &str, part: Part<'_>) -> Result<(), ClientError> {
        let url = format!("{}:upload", self.resource_url(name));
        let form = Form::new().part("file", part);
        self.answer(self.request(self.agent.post(url)).send(form)).map(drop)
    }

    pub(crate) fn resource_url(&self, name: &str) -> String {
        let segments: Vec<String> = name.split('/').map(percent_encode).collect();
        self.url(&format!("/v1/{}", segments.join("/")))
    }
}

/// The full name of a resource that a person may have given by its id alone: `d` or `accounts/a/datasets/d`.
pub fn qualify(account: &str, collection: &str, id_or_name: &str) -> String {
    if id_or_name.contains('/') {
        id_or_name.to_owned()
    } else {
        format!("accounts/{account}/{collection}/{id_or_name}")
    }
}

/// The id at the end of a resource name.
pub fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Escapes what may not stand in a path segment, so that no id can reach another route.
fn percent_encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_reach_other_routes() {
        assert_eq!(percent_encode("a b?c:d#é"), "a%20b%3Fc%3Ad%23%C3%A9");
        assert_eq!(percent_encode("my-data.1"), "my-data.1");
        assert_eq!(qualify("a", "datasets", "d"), "accounts/a/datasets/d");
        assert_eq!(qualify("a", "datasets", "accounts/b/datasets/d"), "accounts/b/datasets/d");
    }
}

//! Long-running operations: work that goes on after the call that began it has returned.

use serde::{Deserialize, Serialize};

use crate::code::Status;
use crate::id::{AccountId, JobId, ModelId, OperationId, SecretId};
use crate::location::RemoteFile;
use crate::record::Model;
use crate::secret::Sealed;

/// Ended operations are remembered for so long, in milliseconds.
pub const ENDED_LIFE_MS: i64 = 30 * 24 * 3600 * 1000;

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Owner.
    pub account: AccountId,
    /// Id.
    pub id: OperationId,
    /// What is to be done.
    pub work: OperationWork,
    /// How it ended; `None` while it goes on.
    pub end: Option<OperationEnd>,
    /// Email of who began it.
    pub created_by: String,
    /// When it was begun.
    pub create_time_ms: i64,
    /// When it was changed last.
    pub update_time_ms: i64,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OperationWork {
    /// Makes a model of a job's checkpoint.
    Promote(Promotion),
    /// Copies the files of a model and checks them.
    Import(ModelImport),
}

/// Which files become which model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelImport {
    /// The model, in the operation's account. It waits for its files.
    pub model: ModelId,
    /// When it was made: another model of its name is not meant.
    pub model_create_time_ms: i64,
    /// S3 bucket.
    pub bucket: String,
    /// Folder in it; empty is the whole bucket.
    pub prefix: String,
    /// How the bucket is read.
    pub credentials: ImportCredentials,
    /// What is to be copied; empty until it is known.
    pub files: Vec<RemoteFile>,
    /// Bytes of them that are there.
    pub copied_bytes: u64,
}

/// What opens a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ImportCredentials {
    /// Nothing: it is public.
    None,
    /// A role at Amazon that this server takes.
    Role {
        /// Its ARN.
        arn: String,
    },
    /// An access key that came with the request.
    Given {
        /// Its id.
        access_key_id: String,
        /// Its secret.
        sealed: Sealed,
    },
    /// A secret of the account.
    Secret {
        /// Id of the access key; empty if the secret has it.
        access_key_id: String,
        /// Which one.
        secret: SecretId,
    },
}

impl ModelImport {
    /// For people: where it is copied from.
    pub fn source(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    /// Bytes of all files; 0 until they are known.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// Which checkpoint becomes which model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The job, in the operation's account.
    pub job: JobId,
    /// Key of the job's row: another job of its name is not meant.
    pub job_key: i64,
    /// Id of the checkpoint.
    pub checkpoint: String,
    /// The model, in the operation's account.
    pub output_model: ModelId,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationEnd {
    /// It made this model.
    Made(Box<Model>),
    /// It made nothing.
    Failed(Status),
}

impl Operation {
    /// `accounts/{account}/operations/{operation}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/operations/{}", self.account, self.id)
    }

    /// What it holds that only this server may open.
    pub fn sealed(&self) -> Option<&Sealed> {
        match &self.work {
            OperationWork::Import(ModelImport {
                credentials: ImportCredentials::Given { sealed, .. },
                ..
            }) => Some(sealed),
            _ => None,
        }
    }

    /// Ends it. What opened the source is forgotten.
    pub fn finish(&mut self, end: OperationEnd, now_ms: i64) {
        if let OperationWork::Import(import) = &mut self.work {
            import.credentials = ImportCredentials::None;
        }
        self.end = Some(end);
        self.update_time_ms = now_ms;
    }

    /// Whether it ended so long ago that nobody asks for it any more.
    pub fn is_forgotten(&self, now_ms: i64) -> bool {
        self.end.is_some() && now_ms.saturating_sub(self.update_time_ms) > ENDED_LIFE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_forgets_what_opened_the_source() {
        let sealed = Sealed { key_id: "k".to_owned(), nonce: "n".to_owned(), ciphertext: "hush".to_owned() };
        let import = ModelImport {
            model: ModelId::new("m").unwrap(),
            model_create_time_ms: 1,
            bucket: "bucket".to_owned(),
            prefix: "a/b".to_owned(),
            credentials: ImportCredentials::Given { access_key_id: "id".to_owned(), sealed },
            files: Vec::new(),
            copied_bytes: 0,
        };
        assert_eq!((import.source().as_str(), import.total_bytes()), ("s3://bucket/a/b", 0));
        let mut operation = Operation {
            account: AccountId::new("a").unwrap(),
            id: OperationId::new("o").unwrap(),
            work: OperationWork::Import(import),
            end: None,
            created_by: String::new(),
            create_time_ms: 1,
            update_time_ms: 1,
        };
        assert!(operation.sealed().is_some());
        assert!(!operation.is_forgotten(i64::MAX));
        operation.finish(OperationEnd::Failed(Status::default()), 5);
        assert_eq!(operation.sealed(), None);
        assert!(!operation.is_forgotten(5 + ENDED_LIFE_MS) && operation.is_forgotten(6 + ENDED_LIFE_MS));
    }
}

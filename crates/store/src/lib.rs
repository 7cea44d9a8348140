//! What must survive: rows, objects, installed models, keys.
//!
//! # What it is for
//! [`Store`] is the SQLite database with one file of verbs per resource (`datastore/`). [`Objects`] keeps uploaded
//! files, [`ModelUploads`] those of models on their way in, [`installed`] keeps model directories, [`UrlSigner`] makes and checks signed URLs.
//!
//! # Data flow
//! `server` passes records of `domain` in and gets records out. A state change of a job is one transaction that
//! asks `domain`, writes the row and appends to the job's event log.
//!
//! # Neighbours
//! `domain` says what is allowed; `server` decides what to do; `cli` installs models without a server.
//!
//! # Invariants
//! After a crash every write is there whole or not at all: rows by transactions, files by writing beside and
//! renaming. API keys are kept as hashes and secrets encrypted, and neither appears in an error. Every error has a code, [`StoreError::code`].

mod columns;
mod condition;
mod datastore;
pub mod durable;
mod error;
mod fields;
pub mod installed;
mod keyfile;
mod keyring;
mod lists;
mod objects;
mod page;
mod sign;
mod staging;
mod uploads;

pub use columns::{Column, Form, Listed};
pub use condition::{Comparator, Condition, Value};
pub use datastore::{
    FoundKey, JOB_EVENT_MESSAGE_MAX_BYTES, JOB_EVENTS_MAX, JobEventQuery, JobEventRow, ListedRecord,
    NewApiKey, NewDataset, NewSecret, NewUserId, Owned, RunReport, Store, StoredJob, WEBHOOK_QUEUE_MAX,
    WandbProgress, WebhookAttempt, WebhookDelivery,
};
pub use error::{StoreError, is_full};
pub use keyfile::write_secret_file;
pub use keyring::SecretKeys;
pub use objects::{ObjectKey, ObjectRead, Objects, PutOutcome, SizeRule, StagedObject};
pub use page::{ListPage, ListQuery, Order, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
pub use sign::UrlSigner;
pub use staging::{StagedFile, StagedWriter, Staging};
pub use uploads::{FilePart, ModelUploads, check_model_file};

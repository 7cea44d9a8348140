//! Reading files that lie elsewhere: in S3 and in Azure Blob Storage.
//!
//! # What it is for
//! Models are imported from buckets, and jobs train on rows that stay in their owners' buckets. Both read through
//! [`Folder`]: a list, the facts of one file, and bytes of a file that must still be the one that was listed.
//! [`fetch`] brings the rows of a run into its directory.
//!
//! # Data flow
//! A [`Location`](hearth_domain::Location) and an access ([`AwsAccess`], [`AzureAccess`]) go in, bytes come out.
//! [`Services`] says where the services are: it is the operator's, so that nobody else chooses whom this program asks.
//!
//! # Neighbours
//! `server` imports models with it, checks the secrets of jobs, and starts a process that runs [`fetch::run`]; that
//! process is all that passes rows on to `train`, by the run directory of `run`.
//!
//! # Invariants
//! A user names buckets and accounts, never a host. Redirects are not followed. Nothing that opens a bucket is written
//! anywhere or stands in an error, and what services answer is not repeated: it may hold keys. A part of a file counts
//! only when it is forced to disk.

mod access;
mod azure;
mod cause;
mod connector;
mod endpoint;
mod error;
pub mod fetch;
mod folder;
mod identity;
mod role;
mod s3;
mod services;
mod token;

pub use access::{AccessKey, AwsAccess, AzureAccess};
pub use azure::access_of_secret as azure_access_of_secret;
pub use endpoint::Endpoint;
pub use error::RemoteError;
pub use folder::{ByteStream, Folder, Retries, check_prefix};
pub use s3::access_key_of_secret;
pub use services::{AzureIdentity, S3Endpoint, Services, StsConfig};

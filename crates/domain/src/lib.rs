//! Pure rules: what a resource may look like, and what happens to a job next.
//!
//! # What it is for
//! Every rule about accounts, datasets, models and jobs stands here once: ids ([`id`]), the records themselves
//! ([`record`]), the validation and the defaults of a job ([`job::resolve`]), its states ([`state`]) and which
//! job runs next ([`schedule`]).
//!
//! # Data flow
//! `server` turns a request into plain structs, asks this crate, and writes what it answers through `store`.
//!
//! # Neighbours
//! `store` keeps the records, `server` asks the questions. This crate knows neither.
//!
//! # Invariants
//! No I/O, no clock, no randomness: times and random numbers are arguments, so that everything can be simulated.
//! All state changes of a job go through one table, [`state::transition`].

pub mod account;
pub mod api_key;
pub mod batch;
pub mod code;
pub mod dataset;
pub mod dataset_validation_job;
pub mod deployment;
pub mod estimate;
pub mod id;
pub mod job;
pub mod job_event;
pub mod location;
pub mod operation;
pub mod price;
pub mod quota;
pub mod record;
pub mod schedule;
pub mod secret;
pub mod state;
pub mod user;
pub mod webhook;

pub use account::{Account, SuspendState};
pub use api_key::{ApiKey, KeyRights};
pub use batch::{BatchInferenceJob, BatchParameters, BatchProgress, BatchState};
pub use code::{Code, Status};
pub use dataset::{Dataset, DatasetFile, DatasetFormat, DatasetSource, DatasetState};
pub use dataset_validation_job::{
    DatasetFinding, DatasetReport, DatasetValidationFormat, DatasetValidationJob, DatasetValidationResult,
    DatasetValidationState,
};
pub use deployment::{Autoscaling, DeployedModel, DeployedModelState, Deployment, DeploymentState};
pub use estimate::{Estimate, JobEstimate};
pub use id::{
    AccountId, BatchInferenceJobId, DatasetId, DatasetRef, DatasetValidationJobId, DeployedModelId,
    DeploymentId, IdError, JobId, ModelId, ModelRef, OperationId, SecretId, UserId, WebhookId,
};
pub use job::{FieldViolation, JobFacts, JobRequest, JobSettings, Violations};
pub use job_event::{JobNews, JobNote};
pub use location::{Location, LocationError, RemoteFile};
pub use operation::{Operation, OperationEnd, OperationWork, Promotion};
pub use price::{Money, TrainingPrices};
pub use quota::{Quota, QuotaKind};
pub use record::{Job, JobProgress, Model, ModelAbout, ModelFile, ModelKind, ModelUpload};
pub use secret::{Sealed, Secret, SecretRef};
pub use state::{JobEvent, JobState, TransitionError, Wish, transition};
pub use user::{User, UserRole};
pub use webhook::{Webhook, WebhookHealth};

//! Rows that lie elsewhere: which of a job's must be brought into its run directory, and what opens them.
//!
//! What opens them goes from the store into a pipe, and nowhere else: the process at its other end is the only one that
//! has it, and ends before a trainer starts.

use std::{fs, io};

use hearth_domain::job::{AwsS3Config, AzureConfig};
use hearth_domain::location::role_session;
use hearth_domain::{Code, DatasetRef, Job, Location, SecretRef, Status};
use hearth_remote::fetch::{FETCHED_FILE, Fetched, Part, Request};
use hearth_remote::{AwsAccess, AzureAccess, Services, access_key_of_secret, azure_access_of_secret};
use hearth_run::RunDir;
use hearth_store::Store;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::io_status;
use super::prepare::{link_or_copy, status_of};

/// What must be fetched before a trainer can start, for the pipe; `None` when nothing is missing.
///
/// The error is the status that the job fails with.
pub(super) fn request(
    store: &Store,
    runtime: &Handle,
    services: &Services,
    job: &Job,
    dir: &RunDir,
) -> Result<Option<Zeroizing<Vec<u8>>>, Status> {
    // What has its settings has its rows.
    if dir.job_path().exists() {
        return Ok(None);
    }
    let settings = &job.settings;
    let mut parts = Vec::new();
    for (name, dataset) in
        [("train", Some(&settings.dataset)), ("eval", settings.evaluation_dataset.as_ref())]
    {
        if let Some(location) =
            dataset.map(|dataset| location(store, runtime, dataset)).transpose()?.flatten()
        {
            parts.push(Part { name: name.to_owned(), location });
        }
    }
    let data = dir.data_path();
    let is_there = |part: &Part| {
        Fetched::files(&data, &part.name).map(|files| files.is_some_and(|files| !files.is_empty()))
    };
    let mut missing = false;
    for part in &parts {
        missing |= !is_there(part).map_err(|error| io_status("finding the rows", &data, &error))?;
    }
    if !missing {
        return Ok(None);
    }
    fs::create_dir_all(&data).map_err(|error| io_status("making the run directory", &data, &error))?;
    let request = Request {
        aws: aws(store, runtime, job)?,
        azure: azure(store, runtime, services, job, &parts)?,
        parts,
        services: services.clone(),
    };
    let text = request.to_json().map_err(|error| Status::new(Code::Internal, error.to_string()))?;
    Ok(Some(text))
}

/// Gives what was fetched into one run directory to another, by further names of the same files. Nothing is given if not
/// all of it is here.
pub(super) fn lend(from: &RunDir, to: &RunDir) -> Result<(), Status> {
    let (from, to) = (from.data_path(), to.data_path());
    let failed = |error: io::Error| io_status("finding the rows", &from, &error);
    let Some(files) = Fetched::all_files(&from).map_err(failed)? else { return Ok(()) };
    fs::create_dir_all(&to).map_err(failed)?;
    for name in files.iter().map(String::as_str).chain([FETCHED_FILE]) {
        link_or_copy(&from.join(name), &to.join(name)).map_err(failed)?;
    }
    Ok(())
}

fn location(store: &Store, runtime: &Handle, dataset: &DatasetRef) -> Result<Option<Location>, Status> {
    let record = runtime
        .block_on(store.dataset_get(dataset))
        .map_err(|error| status_of("reading the dataset", &error))?;
    Ok(record.location())
}

fn secret(store: &Store, runtime: &Handle, name: &SecretRef) -> Result<SecretString, Status> {
    runtime
        .block_on(store.secret_value(name))
        .map_err(|error| status_of("opening the secret of the job", &error))
}

/// A secret may have changed since the job was made.
fn unusable(name: &SecretRef) -> impl FnOnce(String) -> Status {
    move |what| Status::new(Code::FailedPrecondition, format!("secret {name} {what}"))
}

fn aws(store: &Store, runtime: &Handle, job: &Job) -> Result<AwsAccess, Status> {
    Ok(match &job.settings.aws_s3_config {
        None => AwsAccess::Public,
        Some(AwsS3Config::Role(arn)) => {
            AwsAccess::Role { arn: arn.clone(), session: role_session(&job.account) }
        }
        Some(AwsS3Config::Secret(name)) => {
            let value = secret(store, runtime, name)?;
            AwsAccess::Key(access_key_of_secret("", value.expose_secret()).map_err(unusable(name))?)
        }
    })
}

fn azure(
    store: &Store,
    runtime: &Handle,
    services: &Services,
    job: &Job,
    parts: &[Part],
) -> Result<AzureAccess, Status> {
    let account = parts.iter().find_map(|part| match &part.location {
        Location::Azure { account, .. } => Some(account),
        Location::S3 { .. } => None,
    });
    Ok(match (&job.settings.azure_blob_storage_config, account) {
        (None, _) | (_, None) => AzureAccess::Public,
        (Some(AzureConfig::Identity { client_id, tenant_id }), _) => {
            AzureAccess::Identity { client_id: client_id.clone(), tenant_id: tenant_id.clone() }
        }
        (Some(AzureConfig::Secret(name)), Some(account)) => {
            let value = secret(store, runtime, name)?;
            azure_access_of_secret(services, account, value.expose_secret()).map_err(unusable(name))?
        }
    })
}

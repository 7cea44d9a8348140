//! A dataset with the files of another one, which are not uploaded or checked again.

use std::path::PathBuf;

use hearth_domain::{Dataset, DatasetFile, DatasetFormat, DatasetSource, DatasetState, QuotaKind};
use hearth_store::{NewDataset, PutOutcome, Staging};

use super::{check, fields, files};
use crate::error::ServerError;
use crate::gateway::{Call, names};
use crate::quota::must_have_room;

/// Fills `new` with the rows of the dataset that `source` names and adds it, READY.
pub(super) async fn dataset_copy(
    call: &Call,
    mut new: Dataset,
    source: &str,
) -> Result<Dataset, ServerError> {
    let name = names::dataset_in(&new.account, "sourceDatasetId", source)?;
    call.caller.may_read(&name.account)?;
    let source = call.state.store().dataset_get(&name).await?;
    if source.state != DatasetState::Ready {
        return Err(fields::not_ready(&name));
    }
    check::must_be_here(&source)?;
    if new.example_count != 0 && new.example_count != source.example_count {
        let what = format!("the copied dataset has {} rows; leave it out", source.example_count);
        return Err(ServerError::field("dataset.exampleCount", what));
    }
    if new.format != DatasetFormat::Unspecified && new.format != source.format {
        return Err(ServerError::field("dataset.format", "the copied dataset has another; leave it out"));
    }
    new.state = DatasetState::Ready;
    new.format = source.format;
    new.example_count = source.example_count;
    new.files = source.files.clone();
    new.source = DatasetSource::Transformed { dataset: name.clone(), format: source.format };
    let paths = check::uploaded_files(&call.state, &source)?;
    must_have_room(&call.state, &new.account, QuotaKind::Datasets, 1).await?;
    let _permit = call.state.upload_permit()?;
    let objects = call.state.objects().clone();
    let copied = new.clone();
    let copying = tokio::task::spawn_blocking(move || {
        let mut staging = objects.staging()?;
        let made = link_all(&mut staging, copied, &paths)?;
        Ok::<_, hearth_store::StoreError>((made, staging))
    });
    let (made, staging) = match copying.await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => {
            // Where the source went away meanwhile, that is the answer.
            call.state.store().dataset_get(&name).await?;
            return Err(error.into());
        }
        Err(error) => return Err(ServerError::internal("copying a dataset", error)),
    };
    files::create_whole(&call.state, vec![made], staging).await?;
    Ok(new)
}

fn link_all(
    staging: &mut Staging,
    dataset: Dataset,
    paths: &[(String, PathBuf)],
) -> Result<NewDataset, hearth_store::StoreError> {
    let outcome = |file: &DatasetFile| PutOutcome {
        size_bytes: file.size_bytes,
        sha256: file.sha256.clone().unwrap_or_default(),
    };
    let pairs = paths.iter().zip(&dataset.files);
    let files = pairs.map(|((_, path), file)| staging.copy(path, outcome(file))).collect::<Result<_, _>>()?;
    Ok(NewDataset { dataset, files })
}

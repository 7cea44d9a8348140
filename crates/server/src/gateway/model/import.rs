//! `ImportModel`.

use hearth_domain::location::{bucket_problem, role_arn_problem};
use hearth_domain::operation::{ImportCredentials, ModelImport};
use hearth_domain::{Model, Operation, OperationId, OperationWork, Secret};
use hearth_proto::gateway as pb;
use hearth_proto::google::longrunning;
use secrecy::SecretString;

use super::files::uploading;
use crate::error::ServerError;
use crate::gateway::{Call, names, operation};
use crate::operations;

const ID_FIELD: &str = "awsS3Source.accessKeyId";
const ROLE_FIELD: &str = "awsS3Source.roleArn";
const SECRET_FIELD: &str = "awsS3Source.accessSecret";
/// Longest part of an access key, in bytes.
const KEY_MAX_BYTES: usize = 1024;

/// Copies the files of a model from an S3 bucket, and checks and installs it as after an upload. The model must be there
/// and UPLOADING; it then has the files of the bucket and no others. The reply is the operation.
pub(in crate::gateway) async fn model_import(
    call: &Call,
    request: pb::ImportModelRequest,
) -> Result<longrunning::Operation, ServerError> {
    let name = names::model("name", &request.name)?;
    call.caller.may_change(&name.account)?;
    let source = request.aws_s3_source.ok_or_else(|| {
        ServerError::field("awsS3Source", "is required: models are imported from S3 buckets only")
    })?;
    if !source.role_arn.is_empty() {
        check_role(call, &source)?;
    }
    if let Some(problem) = bucket_problem(&source.s3_bucket) {
        return Err(ServerError::field("awsS3Source.s3Bucket", problem));
    }
    hearth_remote::check_prefix(&source.s3_path)
        .map_err(|error| ServerError::field("awsS3Source.s3Path", error.to_string()))?;
    let model = uploading(&call.state, &name).await?;
    let place = call.state.operations().place()?.for_model(&name)?;
    let operation = operation(call, &model, source).await?;
    operations::begin(&call.state, &operation, place).await?;
    Ok(operation::to_pb(&operation))
}

fn check_role(call: &Call, source: &pb::AwsS3ModelSource) -> Result<(), ServerError> {
    if !source.access_key_id.is_empty() || !source.access_secret.is_empty() {
        return Err(ServerError::field(
            ROLE_FIELD,
            "does not go with accessKeyId and accessSecret; give one",
        ));
    }
    if let Some(problem) = role_arn_problem(&source.role_arn) {
        return Err(ServerError::field(ROLE_FIELD, problem));
    }
    if call.state.storage_services().sts.is_none() {
        return Err(ServerError::FailedPrecondition(format!(
            "{ROLE_FIELD}: this server has no identity that a role could trust; the operator must start it with \
             --aws-web-identity-token-file"
        )));
    }
    Ok(())
}

async fn operation(
    call: &Call,
    model: &Model,
    source: pb::AwsS3ModelSource,
) -> Result<Operation, ServerError> {
    let now_ms = crate::now_ms();
    let work = |credentials| {
        OperationWork::Import(ModelImport {
            model: model.id.clone(),
            model_create_time_ms: model.create_time_ms,
            bucket: source.s3_bucket.clone(),
            prefix: source.s3_path.trim_matches('/').to_owned(),
            credentials,
            files: Vec::new(),
            copied_bytes: 0,
        })
    };
    let mut operation = Operation {
        account: model.account.clone(),
        id: OperationId::generate(rand::random()),
        work: work(ImportCredentials::None),
        end: None,
        created_by: call.caller.email.clone(),
        create_time_ms: now_ms,
        update_time_ms: now_ms,
    };
    operation.work = work(credentials(call, &operation, &source).await?);
    Ok(operation)
}

/// The access key as it is kept: in place of its secret the name of one of the account's, or what only this server opens.
async fn credentials(
    call: &Call,
    operation: &Operation,
    source: &pb::AwsS3ModelSource,
) -> Result<ImportCredentials, ServerError> {
    if !source.role_arn.is_empty() {
        return Ok(ImportCredentials::Role { arn: source.role_arn.clone() });
    }
    let (id, secret) = (&source.access_key_id, &source.access_secret);
    for (field, text) in [(ID_FIELD, id), (SECRET_FIELD, secret)] {
        if text.len() > KEY_MAX_BYTES || text.chars().any(char::is_control) {
            let what = format!("has a control character or is longer than {KEY_MAX_BYTES} bytes");
            return Err(ServerError::field(field, what));
        }
    }
    if let Ok(name) = names::secret(SECRET_FIELD, secret) {
        if name.account != operation.account {
            return Err(ServerError::field(
                SECRET_FIELD,
                "names a secret of another account than the model's",
            ));
        }
        call.state.store().get::<Secret>(&name.account, name.id.as_str()).await?;
        return Ok(ImportCredentials::Secret { access_key_id: id.clone(), secret: name.id });
    }
    match (id.is_empty(), secret.is_empty()) {
        (true, true) => Ok(ImportCredentials::None),
        (true, false) => Err(ServerError::field(ID_FIELD, "is required with an accessSecret")),
        (false, true) => Err(ServerError::field(SECRET_FIELD, "is required with an accessKeyId")),
        (false, false) => {
            let value = SecretString::from(secret.clone());
            let sealed = call.state.store().operation_seal(&operation.name(), &value).await?;
            Ok(ImportCredentials::Given { access_key_id: id.clone(), sealed })
        }
    }
}

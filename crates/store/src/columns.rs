//! What lists can be filtered and sorted by: fields of the API's resources, and the SQL that gives them.
//!
//! Fields that are not here have their default in every row of this server.

/// A table that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Accounts.
    Account,
    /// Users.
    User,
    /// API keys.
    ApiKey,
    /// Batch inference jobs.
    BatchInferenceJob,
    /// Datasets.
    Dataset,
    /// Supervised fine-tuning jobs.
    Job,
    /// Models.
    Model,
    /// Deployments.
    Deployment,
    /// Deployed models.
    DeployedModel,
    /// Secrets.
    Secret,
    /// Webhooks.
    Webhook,
    /// Quotas, which stand in no table.
    Quota,
}

/// A field of a row, as SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub(crate) sql: &'static str,
    /// How the field is stored.
    pub form: Form,
}

/// How a field is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is: text, a number, or 0 and 1.
    Plain,
    /// Milliseconds since the Unix epoch; NULL when there is no such time.
    Time,
    /// Milliseconds.
    Duration,
    /// The name of an enum's value, in upper case without this beginning.
    UpperName(&'static str),
    /// The name of an enum's value in lower case.
    LowerName,
    /// A JSON array of texts.
    Texts,
}

macro_rules! columns {
    ($($form:expr => { $($path:literal = $sql:expr,)+ })+) => {
        &[$($(($path, Column { sql: $sql, form: $form }),)+)+]
    };
}

/// The name of something that a record refers to.
macro_rules! reference {
    ($field:literal, $kind:literal) => {
        concat!(
            "coalesce('accounts/' || (record ->> '$.",
            $field,
            ".account') || '/",
            $kind,
            "/' || (record ->> '$.",
            $field,
            ".id'), '')"
        )
    };
}

/// The dataset that another one was made of in this way.
macro_rules! dataset_source {
    ($kind:literal) => {
        concat!(
            "CASE record ->> '$.source.kind' WHEN '",
            $kind,
            "' THEN ",
            reference!("source.dataset", "datasets"),
            " ELSE '' END"
        )
    };
}

/// A dataset's format as the API calls it.
macro_rules! format_name {
    ($format:literal) => {
        concat!("CASE ", $format, " WHEN 'unspecified' THEN 'format_unspecified' ELSE ", $format, " END")
    };
}

type Columns = &'static [(&'static str, Column)];

mod deployment;

const ACCOUNT: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || id",
        "display_name" = "record ->> '$.display_name'",
        "email" = "record ->> '$.email'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
    }
    Form::UpperName("") => {
        "state" = "'READY'",
        "suspend_state" = "coalesce(record ->> '$.suspend_state', 'UNSUSPENDED')",
        "status.code" = "'OK'",
    }
};

const USER: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/users/' || id",
        "display_name" = "record ->> '$.display_name'",
        "email" = "record ->> '$.email'",
        "role" = "record ->> '$.role'",
        "service_account" = "record ->> '$.service_account'",
        "first_name" = "record ->> '$.first_name'",
        "last_name" = "record ->> '$.last_name'",
        "stated_role" = "record ->> '$.stated_role'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
    }
    Form::UpperName("") => {
        "state" = "'READY'",
        "status.code" = "'OK'",
    }
};

const API_KEY: Columns = columns! {
    Form::Plain => {
        "key_id" = "id",
        "display_name" = "record ->> '$.display_name'",
        "email" = "record ->> '$.email'",
        "prefix" = "record ->> '$.prefix'",
        "secure" = "1",
    }
    Form::Time => {
        "create_time" = "record ->> '$.create_time_ms'",
        "expire_time" = "record ->> '$.expire_time_ms'",
    }
};

const DATASET: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/datasets/' || id",
        "display_name" = "record ->> '$.display_name'",
        "external_url" = "coalesce(record ->> '$.external_url', '')",
        "example_count" = "record ->> '$.example_count'",
        "created_by" = "record ->> '$.created_by'",
        "status.message" = "record ->> '$.status.message'",
        "source_job_name" = "coalesce(record ->> '$.source_job_name', '')",
        "transformed.source_dataset_id" = dataset_source!("transformed"),
        "splitted.source_dataset_id" = dataset_source!("splitted"),
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
    }
    Form::LowerName => {
        "state" = "record ->> '$.state'",
        "format" = format_name!("record ->> '$.format'"),
        "transformed.original_format" = format_name!("coalesce(record ->> '$.source.format', 'unspecified')"),
    }
    Form::UpperName("") => {
        "status.code" = "record ->> '$.status.code'",
    }
};

const MODEL: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/models/' || id",
        "display_name" = "record ->> '$.display_name'",
        "created_by" = "record ->> '$.created_by'",
        "context_length" = "record ->> '$.context_length'",
        "imported_from" = "record ->> '$.imported_from'",
        "description" = "coalesce(record ->> '$.about.description', '')",
        "github_url" = "coalesce(record ->> '$.about.github_url', '')",
        "hugging_face_url" = "coalesce(record ->> '$.about.hugging_face_url', '')",
        "status.message" = "coalesce(record ->> '$.upload.status.message', '')",
        "public" = "account = 'fireworks'",
        "fine_tuning_job" = "coalesce(record ->> '$.kind.fine_tuning_job', '')",
        "tunable" = "(record ->> '$.kind.kind') = 'base' AND record ->> '$.upload' IS NULL",
        "supports_lora" = "(record ->> '$.kind.kind') = 'base' AND record ->> '$.upload' IS NULL",
        "training_context_length" = "CASE record ->> '$.kind.kind' WHEN 'base' THEN record ->> '$.context_length' ELSE 0 END",
        "base_model_details.world_size" = "(record ->> '$.kind.kind') = 'base'",
        "base_model_details.parameter_count" = "coalesce(record ->> '$.kind.parameter_count', 0)",
        "base_model_details.tunable" = "(record ->> '$.kind.kind') = 'base' AND record ->> '$.upload' IS NULL",
        "base_model_details.model_type" = "CASE record ->> '$.kind.kind' WHEN 'base' THEN record ->> '$.model_type' ELSE '' END",
        "peft_details.base_model" = reference!("kind.base_model", "models"),
        "peft_details.r" = "coalesce(record ->> '$.kind.r', 0)",
        "peft_details.base_model_type" = "CASE record ->> '$.kind.kind' WHEN 'base' THEN '' ELSE record ->> '$.model_type' END",
    }
    Form::Texts => {
        "peft_details.target_modules" = "coalesce(record -> '$.kind.target_modules', '[]')",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
    }
    Form::UpperName("") => {
        "state" = "CASE WHEN record ->> '$.upload' IS NULL THEN 'READY' ELSE 'UPLOADING' END",
        "status.code" = "coalesce(record ->> '$.upload.status.code', 'OK')",
        "kind" = "CASE record ->> '$.kind.kind' WHEN 'base' THEN 'HF_BASE_MODEL' ELSE 'HF_PEFT_ADDON' END",
        "base_model_details.checkpoint_format"
            = "CASE record ->> '$.kind.kind' WHEN 'base' THEN 'HUGGINGFACE' ELSE 'CHECKPOINT_FORMAT_UNSPECIFIED' END",
    }
};

/// Of the value nothing: a filter that could ask for it would tell it.
const SECRET: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/secrets/' || id",
        "key_name" = "record ->> '$.key_name'",
    }
};

const WEBHOOK: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/webhooks/' || id",
        "display_name" = "record ->> '$.display_name'",
        "url" = "record ->> '$.url'",
        "created_by" = "record ->> '$.created_by'",
        "consecutive_failures" = "record ->> '$.health.consecutive_failures'",
        "last_error" = "record ->> '$.health.last_error'",
        "dropped_events" = "record ->> '$.health.dropped'",
    }
    Form::Texts => {
        "event_types" = "record -> '$.event_types'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
        "last_attempt_time" = "record ->> '$.health.last_attempt_ms'",
        "last_success_time" = "record ->> '$.health.last_success_ms'",
    }
    Form::UpperName("") => {
        "state" = "CASE WHEN record ->> '$.health.consecutive_failures' >= 3 THEN 'FAILING' ELSE 'ACTIVE' END",
    }
};

const QUOTA: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/quotas/' || id",
        "value" = "record ->> '$.limit'",
        "max_value" = "record ->> '$.limit'",
        "usage" = "record ->> '$.usage'",
    }
};

const BATCH_INFERENCE_JOB: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/batchInferenceJobs/' || id",
        "display_name" = "record ->> '$.display_name'",
        "created_by" = "record ->> '$.created_by'",
        "status.message" = "record ->> '$.status.message'",
        "model" = reference!("model", "models"),
        "input_dataset_id" = reference!("input", "datasets"),
        "output_dataset_id" = reference!("output", "datasets"),
        "continued_from_job_name" = "record ->> '$.continued_from'",
        "inference_parameters.max_tokens" = "coalesce(record ->> '$.parameters.max_tokens', 0)",
        "inference_parameters.temperature" = "coalesce(record ->> '$.parameters.temperature', 0)",
        "inference_parameters.top_p" = "coalesce(record ->> '$.parameters.top_p', 0)",
        "inference_parameters.n" = "coalesce(record ->> '$.parameters.n', 0)",
        "inference_parameters.top_k" = "coalesce(record ->> '$.parameters.top_k', 0)",
        "inference_parameters.extra_body" = "record ->> '$.parameters.extra_body'",
        "job_progress.percent" = "CASE record ->> '$.progress.total' WHEN 0 THEN 0 ELSE
            min((record ->> '$.progress.succeeded') + (record ->> '$.progress.failed'),
                record ->> '$.progress.total')
            * 100 / (record ->> '$.progress.total') END",
        "job_progress.total_input_requests" = "record ->> '$.progress.total'",
        "job_progress.total_processed_requests"
            = "(record ->> '$.progress.succeeded') + (record ->> '$.progress.failed')",
        "job_progress.successfully_processed_requests" = "record ->> '$.progress.succeeded'",
        "job_progress.failed_requests" = "record ->> '$.progress.failed'",
        "job_progress.output_rows" = "record ->> '$.progress.succeeded'",
        "job_progress.input_tokens" = "record ->> '$.progress.input_tokens'",
        "job_progress.output_tokens" = "record ->> '$.progress.output_tokens'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
    }
    Form::UpperName("JOB_STATE_") => {
        "state" = "record ->> '$.state'",
    }
    Form::UpperName("") => {
        "status.code" = "record ->> '$.status.code'",
    }
};

const JOB: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/supervisedFineTuningJobs/' || id",
        "display_name" = "record ->> '$.settings.display_name'",
        "dataset" = reference!("settings.dataset", "datasets"),
        "evaluation_dataset" = reference!("settings.evaluation_dataset", "datasets"),
        "early_stop" = "coalesce(record ->> '$.settings.early_stop', 0)",
        "warm_start_from" = reference!("settings.warm_start_from", "models"),
        "lr_scheduler.cosine.min_lr_ratio" = "coalesce(record ->> '$.settings.lr_scheduler.min_lr_ratio', 0)",
        "lr_scheduler.cosine.decay_ratio" = "coalesce(record ->> '$.settings.lr_scheduler.decay_ratio', 0)",
        "sampler_checkpoint_save_interval_steps"
            = "coalesce(record ->> '$.settings.sampler_checkpoint_save_interval_steps', 0)",
        "eval_auto_carveout" = "coalesce(record ->> '$.settings.eval_auto_carveout', 0)",
        "status.message" = "CASE WHEN record ->> '$.status.code' = 'OK' AND record ->> '$.status.message' = ''
            THEN coalesce(record ->> '$.rows_note', '')
                || CASE WHEN coalesce(record ->> '$.rows_note', '') <> '' AND coalesce(record ->> '$.run_note', '') <> ''
                   THEN '; ' ELSE '' END
                || coalesce(record ->> '$.run_note', '')
            ELSE record ->> '$.status.message' END",
        "created_by" = "record ->> '$.created_by'",
        "output_model" = reference!("settings.output_model", "models"),
        "base_model" = reference!("settings.base_model", "models"),
        "jinja_template" = "coalesce(record ->> '$.settings.jinja_template', '')",
        "epochs" = "record ->> '$.settings.epochs'",
        "learning_rate" = "record ->> '$.settings.learning_rate'",
        "learning_rate_warmup_steps" = "record ->> '$.settings.learning_rate_warmup_steps'",
        "optimizer_weight_decay" = "record ->> '$.settings.optimizer_weight_decay'",
        "lora_rank" = "record ->> '$.settings.lora_rank'",
        "max_context_length" = "record ->> '$.settings.max_context_length'",
        "batch_size" = "record ->> '$.settings.batch_size'",
        "batch_size_samples" = "record ->> '$.settings.batch_size_samples'",
        "gradient_accumulation_steps" = "record ->> '$.settings.gradient_accumulation_steps'",
        "nodes" = "1",
        "is_turbo" = "coalesce(record ->> '$.settings.is_turbo', 0)",
        "use_purpose" = "CASE record ->> '$.settings.placement.is_pilot' WHEN 1 THEN 'pilot' ELSE '' END",
        "use_reservation" = "record ->> '$.settings.placement.reservation' IS NOT NULL",
        "reservation_target" = "coalesce('accounts/' || account || '/reservations/'
            || (record ->> '$.settings.placement.reservation'), '')",
        "aws_s3_config.credentials_secret" = reference!("settings.aws_s3_config.secret", "secrets"),
        "aws_s3_config.iam_role_arn" = "coalesce(record ->> '$.settings.aws_s3_config.role', '')",
        "azure_blob_storage_config.credentials_secret"
            = reference!("settings.azure_blob_storage_config.secret", "secrets"),
        "azure_blob_storage_config.managed_identity_client_id"
            = "coalesce(record ->> '$.settings.azure_blob_storage_config.identity.client_id', '')",
        "azure_blob_storage_config.tenant_id"
            = "coalesce(record ->> '$.settings.azure_blob_storage_config.identity.tenant_id', '')",
        "wandb_config.enabled" = "record ->> '$.settings.wandb' IS NOT NULL",
        "wandb_config.project" = "coalesce(record ->> '$.settings.wandb.project', '')",
        "wandb_config.entity" = "coalesce(record ->> '$.settings.wandb.entity', '')",
        "wandb_config.run_id" = "coalesce(record ->> '$.settings.wandb.run_id', '')",
        "wandb_config.url" = "coalesce(record ->> '$.settings.wandb.url', '')",
        "job_progress.percent" = "CASE record ->> '$.progress.total_steps' WHEN 0 THEN 0 ELSE
            min(record ->> '$.progress.step', record ->> '$.progress.total_steps') * 100
            / (record ->> '$.progress.total_steps') END",
        "job_progress.epoch" = "record ->> '$.progress.epoch'",
        "job_progress.total_input_requests" = "record ->> '$.progress.rows'",
        "job_progress.total_processed_requests" = "coalesce(record ->> '$.progress.samples', 0)",
        "job_progress.successfully_processed_requests" = "coalesce(record ->> '$.progress.samples', 0)",
        "job_progress.input_tokens" = "record ->> '$.progress.tokens'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
        "completed_time" = "record ->> '$.completed_time_ms'",
    }
    Form::UpperName("JOB_STATE_") => {
        "state" = "state",
    }
    Form::UpperName("PURPOSE_") => {
        "purpose" = "CASE record ->> '$.settings.placement.is_pilot' WHEN 1 THEN 'PILOT' ELSE 'UNSPECIFIED' END",
    }
    Form::UpperName("") => {
        "status.code" = "record ->> '$.status.code'",
        "region" = "coalesce(nullif(record ->> '$.settings.placement.region', ''), 'REGION_UNSPECIFIED')",
    }
};

impl Listed {
    /// Whose key it is; the API shows the address instead.
    pub(crate) const API_KEY_USER: Column = Column { sql: "user", form: Form::Plain };

    fn table(self) -> Columns {
        match self {
            Listed::Account => ACCOUNT,
            Listed::User => USER,
            Listed::ApiKey => API_KEY,
            Listed::BatchInferenceJob => BATCH_INFERENCE_JOB,
            Listed::Dataset => DATASET,
            Listed::Job => JOB,
            Listed::Model => MODEL,
            Listed::Deployment => deployment::DEPLOYMENT,
            Listed::DeployedModel => deployment::DEPLOYED_MODEL,
            Listed::Secret => SECRET,
            Listed::Webhook => WEBHOOK,
            Listed::Quota => QUOTA,
        }
    }

    /// All kinds that stand in tables.
    pub(crate) const ALL: [Self; 11] = [
        Self::Account,
        Self::User,
        Self::ApiKey,
        Self::BatchInferenceJob,
        Self::Dataset,
        Self::Job,
        Self::Model,
        Self::Deployment,
        Self::DeployedModel,
        Self::Secret,
        Self::Webhook,
    ];

    /// The tables of which the rows are made, its own first.
    pub(crate) fn tables(self) -> &'static [&'static str] {
        match self {
            Listed::Account => &["account"],
            Listed::User => &["user"],
            Listed::ApiKey => &["api_key", "user"],
            Listed::BatchInferenceJob => &["batch_inference_job"],
            Listed::Dataset => &["dataset"],
            Listed::Job => &["job"],
            Listed::Model => &["model"],
            Listed::Deployment => &["deployment", "account"],
            Listed::DeployedModel => &["deployed_model", "model"],
            Listed::Secret => &["secret"],
            Listed::Webhook => &["webhook"],
            Listed::Quota => &[],
        }
    }

    /// All columns.
    pub(crate) fn columns(self) -> impl Iterator<Item = Column> {
        let hidden = (self == Listed::ApiKey).then_some(Self::API_KEY_USER);
        self.table().iter().map(|(_, column)| *column).chain(hidden)
    }

    /// The column of a field, by its path in the API with the names of the `.proto` files, for example
    /// `status.message`. `None`: every row has the field's default.
    pub fn column(self, path: &str) -> Option<Column> {
        self.table().iter().find(|(known, _)| *known == path).map(|(_, column)| *column)
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::webhook::WEBHOOK_FAILING_AFTER;

    use super::*;

    #[test]
    fn filters_find_the_webhooks_that_are_shown_as_failing() {
        let sql = Listed::Webhook.column("state").unwrap().sql;
        assert!(sql.contains(&format!(">= {WEBHOOK_FAILING_AFTER} ")), "{sql}");
    }
}

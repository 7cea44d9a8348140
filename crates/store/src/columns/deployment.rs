//! Deployments and deployed models.

use super::{Column, Columns, Form};

pub(super) const DEPLOYMENT: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/deployments/' || id",
        "display_name" = "record ->> '$.display_name'",
        "description" = "record ->> '$.description'",
        "created_by" = "record ->> '$.created_by'",
        "status.message" = "record ->> '$.status.message'",
        "base_model" = reference!("base_model", "models"),
        "min_replica_count" = "record ->> '$.min_replica_count'",
        "max_replica_count" = "record ->> '$.max_replica_count'",
        "desired_replica_count" = "record ->> '$.desired_replica_count'",
        "replica_count" = "record ->> '$.replica_count'",
        "replica_stats.ready_replica_count" = "record ->> '$.replica_count'",
        "replica_stats.initializing_replica_count"
            = "CASE WHEN record ->> '$.state' IN ('creating', 'updating') THEN record ->> '$.desired_replica_count' ELSE 0 END",
        "enable_addons" = "record ->> '$.enable_addons'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
        "delete_time" = "record ->> '$.delete_time_ms'",
        "purge_time" = "record ->> '$.purge_time_ms'",
    }
    Form::Duration => {
        "autoscaling_policy.scale_up_window" = "record ->> '$.autoscaling.scale_up_window_ms'",
        "autoscaling_policy.scale_down_window" = "record ->> '$.autoscaling.scale_down_window_ms'",
        "autoscaling_policy.scale_to_zero_window" = "record ->> '$.autoscaling.scale_to_zero_window_ms'",
    }
    Form::LowerName => {
        "state" = "record ->> '$.state'",
    }
    Form::UpperName("") => {
        "status.code" = "record ->> '$.status.code'",
        "precision" = "CASE record ->> '$.precision' WHEN '' THEN 'PRECISION_UNSPECIFIED' ELSE record ->> '$.precision' END",
    }
};

pub(super) const DEPLOYED_MODEL: Columns = columns! {
    Form::Plain => {
        "name" = "'accounts/' || account || '/deployedModels/' || id",
        "display_name" = "record ->> '$.display_name'",
        "description" = "record ->> '$.description'",
        "created_by" = "record ->> '$.created_by'",
        "status.message" = "record ->> '$.status.message'",
        "model" = reference!("model", "models"),
        "deployment" = "'accounts/' || account || '/deployments/' || (record ->> '$.deployment')",
        "default" = "record ->> '$.is_default'",
        "serverless" = "(record ->> '$.deployment') = 'local'",
        "public" = "account = 'fireworks'",
    }
    Form::Time => {
        "create_time" = "create_time_ms",
        "update_time" = "record ->> '$.update_time_ms'",
    }
    Form::LowerName => {
        "state" = "record ->> '$.state'",
    }
    Form::UpperName("") => {
        "status.code" = "record ->> '$.status.code'",
    }
};

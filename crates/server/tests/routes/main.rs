//! Every route against a real server on a loopback port: a file per resource and verb.

mod server;

mod account;
mod api_key;
mod bad_clients;
mod bad_input;
mod batch_inference_job;
mod coverage;
mod dataset;
mod dataset_validation_job;
mod deployed_model;
mod deployment;
mod grpc;
mod job_fields;
mod lifecycle;
mod list_rules;
mod model;
mod openai;
mod openapi;
mod operation;
mod quota;
mod reflection;
mod secret;
mod supervised_fine_tuning_job;
#[path = "../../../inference/tests/tiny/mod.rs"]
mod tiny;
mod tls;
mod user;
mod verify_api_key;
mod webhook;

/// Compares a reply with its stored form; times, generated ids and signatures are left out.
macro_rules! snapshot {
    ($reply:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => true }, {
            insta::assert_json_snapshot!($reply.shown(), {
                ".**.createTime" => "[time]",
                ".**.updateTime" => "[time]",
                ".**.created_at" => "[time]",
                ".**.metricsFileSignedUrl" => "[url]",
                ".**.trainerLogsSignedUrl" => "[url]",
            })
        })
    };
}
pub(crate) use snapshot;

//! The contract holds what clients rely on.

use super::names::{AccountName, DatasetName, JobName, ModelName};
use super::*;
use prost_reflect::Value;

/// `GET /v1/...` of an RPC and its body, as text.
fn rule(method: &str) -> String {
    let service = descriptor_pool().get_service_by_name("gateway.Gateway").unwrap();
    let method = service.methods().find(|m| m.name() == method).unwrap();
    let rule = http_rule(&method).unwrap();
    fn text(rule: &DynamicMessage) -> String {
        let (field, path) = rule
            .fields()
            .find(|(field, _)| field.containing_oneof().is_some())
            .expect("a rule has a pattern");
        let body = rule.get_field_by_name("body").unwrap();
        let mut out = format!("{} {}", field.name(), path.as_str().unwrap());
        if let Some(body) = body.as_str().filter(|body| !body.is_empty()) {
            out += &format!(" body={body}");
        }
        let more = rule.get_field_by_name("additional_bindings").unwrap();
        for binding in more.as_list().unwrap() {
            let Value::Message(binding) = binding else { panic!("a binding is a message") };
            out += &format!(" | {}", text(binding));
        }
        out
    }
    text(&rule)
}

#[test]
fn every_rpc_has_its_http_form() {
    let service = descriptor_pool().get_service_by_name("gateway.Gateway").unwrap();
    for method in service.methods() {
        // As on the hosted service.
        let grpc_only = ["ListServerlessLoraModels", "UploadDataset"].contains(&method.name());
        assert_eq!(http_rule(&method).is_none(), grpc_only, "{} and its HTTP form", method.name());
    }
    assert_eq!(
        rule("CreateSupervisedFineTuningJob"),
        "post /v1/{parent=accounts/*}/supervisedFineTuningJobs body=supervised_fine_tuning_job"
    );
    assert_eq!(
        rule("CreateApiKey"),
        "post /v1/{parent=accounts/*}/apiKeys body=* | post /v1/{parent=accounts/*/users/*}/apiKeys body=*"
    );
    assert_eq!(rule("DeleteDataset"), "delete /v1/{name=accounts/*/datasets/*}");
}

#[test]
fn numbers_that_clients_compiled_in() {
    let pool = descriptor_pool();
    let check = |message: &str, fields: &[(&str, u32)]| {
        let message = pool.get_message_by_name(message).unwrap();
        for (name, number) in fields {
            assert_eq!(message.get_field_by_name(name).unwrap().number(), *number, "{name}");
        }
    };
    check(
        "gateway.SupervisedFineTuningJob",
        &[
            ("completed_time", 23),
            ("eval_auto_carveout", 24),
            ("batch_size", 28),
            ("metrics_file_signed_url", 36),
        ],
    );
    check("gateway.Model", &[("kind", 4), ("state", 6), ("peft_details", 16), ("deployed_model_refs", 37)]);
    check("gateway.Dataset", &[("status", 6), ("user_uploaded", 11), ("source_job_name", 21)]);
    check("gateway.GetModelDownloadEndpointResponse", &[("filename_to_signed_urls", 5)]);
    assert_eq!(gateway::JobState::CreatingInputDataset as i32, 19);
    assert!(gateway::JobState::Idle as i32 >= 1000);
}

#[test]
fn json_names_are_those_of_the_rest_clients() {
    let job = descriptor_pool().get_message_by_name("gateway.SupervisedFineTuningJob").unwrap();
    let names: Vec<String> = job.fields().map(|field| field.json_name().to_owned()).collect();
    for name in [
        "awsS3Config",
        "trainerLogsSignedUrl",
        "rendererHuggingFaceRepoId",
        "usePurpose",
        "gradientAccumulationSteps",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is missing");
    }
}

#[test]
fn names_parse_and_print() {
    let job: JobName = "accounts/acme/supervisedFineTuningJobs/j1".parse().unwrap();
    assert_eq!((job.account.as_str(), job.job.as_str()), ("acme", "j1"));
    assert_eq!(job.to_string(), "accounts/acme/supervisedFineTuningJobs/j1");
    assert_eq!(DatasetName::parse_in("acme", "d").unwrap().to_string(), "accounts/acme/datasets/d");
    assert_eq!(ModelName::parse_in("acme", "accounts/b/models/m").unwrap().account, "b");
    for wrong in ["", "accounts", "accounts/", "accounts/a/b", "account/a", "accounts/a:b", "/accounts/a"] {
        let error = wrong.parse::<AccountName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{wrong:?} is not a resource name of the form accounts/{{account}}")
        );
    }
    assert!(ModelName::parse_in("acme", "").is_err());
    assert!("accounts/a/models/m#x/y".parse::<ModelName>().is_err());
}

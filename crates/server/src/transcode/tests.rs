//! Requests in, messages out; messages in, JSON out.

use super::*;
use http::Method;

/// The RPC and the request message (as JSON without zero values) that a REST call becomes, or the error.
fn check(verb: &str, target: &str, body: &str, expect: &str) {
    let transcoder = Transcoder::new();
    let uri: http::Uri = target.parse().unwrap();
    let found = match transcoder.table.find(&verb.parse::<Method>().unwrap(), uri.path()) {
        Found::Nothing => "no path".to_owned(),
        Found::OtherMethods(methods) => format!("allowed: {methods:?}"),
        Found::Route(route, captures) => match &route.target {
            Target::DatasetUpload => format!("upload {captures:?}"),
            Target::JobEventStream => format!("events {captures:?}"),
            Target::Rpc { method, body: to } => {
                match message(method, to, &captures, uri.query().unwrap_or_default(), body) {
                    Ok(message) => {
                        format!("{} {}", method.name(), serde_json::to_string(&message).unwrap())
                    }
                    Err(error) => error.to_string(),
                }
            }
        },
    };
    assert_eq!(found, expect, "{verb} {target} {body}");
}

#[test]
fn calls_become_messages() {
    check("GET", "/v1/accounts/a/datasets/d", "", r#"GetDataset {"name":"accounts/a/datasets/d"}"#);
    check(
        "GET",
        "/v1/accounts/a/datasets?pageSize=3&page_token=x%20y&readMask=name,createTime&nothing=1",
        "",
        r#"ListDatasets {"parent":"accounts/a","pageSize":3,"pageToken":"x y","readMask":"name,createTime"}"#,
    );
    check(
        "POST",
        "/v1/accounts/a/datasets/d:getUploadEndpoint",
        r#"{"filenameToSize": {"a.jsonl": 5}, "name": "accounts/b/datasets/x", "later": [1]}"#,
        r#"GetDatasetUploadEndpoint {"name":"accounts/a/datasets/d","filenameToSize":{"a.jsonl":"5"}}"#,
    );
    check(
        "POST",
        "/v1/accounts/a/datasets/d:getUploadEndpoint",
        r#"{"filename_to_size": {"a.jsonl": "5"}}"#,
        r#"GetDatasetUploadEndpoint {"name":"accounts/a/datasets/d","filenameToSize":{"a.jsonl":"5"}}"#,
    );
    let job = concat!(
        r#"CreateSupervisedFineTuningJob {"parent":"accounts/a","supervisedFineTuningJob":"#,
        r#"{"dataset":"d","epochs":2},"supervisedFineTuningJobId":"j"}"#
    );
    let jobs = "/v1/accounts/a/supervisedFineTuningJobs";
    let with_id = format!("{jobs}?supervisedFineTuningJobId=j");
    check("POST", &with_id, r#"{"dataset":"d","epochs":2}"#, job);
    check("POST", &with_id, r#"{"supervisedFineTuningJob":{"dataset":"d","epochs":2}}"#, job);
    check(
        "POST",
        jobs,
        r#"{"supervisedFineTuningJob":{"dataset":"d","epochs":2},"supervised_fine_tuning_job_id":"j"}"#,
        job,
    );
    check("DELETE", "/v1/accounts/a/models/m", "", r#"DeleteModel {"name":"accounts/a/models/m"}"#);
    let users = r#"CreateApiKey {"parent":"accounts/a/users/u","apiKey":{"displayName":"k"}}"#;
    check("POST", "/v1/accounts/a/users/u/apiKeys", r#"{"apiKey":{"displayName":"k"}}"#, users);
    let cancel = r#"CancelSupervisedFineTuningJob {"name":"accounts/a/supervisedFineTuningJobs/j"}"#;
    check("POST", &format!("{jobs}/j:cancel"), "", cancel);
    check("POST", &format!("{jobs}/j:cancel"), "{}", cancel);
}

#[test]
fn wrong_calls_say_what_and_where() {
    check("GET", "/v1/accounts/a/dataset/d", "", "no path");
    check("PUT", "/v1/accounts/a/datasets", "", "allowed: [GET, POST]");
    let jobs = "/v1/accounts/a/supervisedFineTuningJobs";
    check(
        "POST",
        jobs,
        "{\"dataset\": \"d\",\n \"epochs\": \"many\"}",
        "the body is not valid JSON for this call: invalid digit found in string at line 2 column 17",
    );
    check(
        "POST",
        jobs,
        "{\"dataset\": }",
        "the body is not valid JSON for this call: expected value at line 1 column 13",
    );
    check(
        "POST",
        jobs,
        r#"{"dataset": "d", "status": {"code": "GOOD"}}"#,
        "status.code: \"GOOD\" is not a value of Code",
    );
    check("POST", jobs, "{} {}", "the body goes on after its end: trailing characters at line 1 column 4");
    check(
        "GET",
        "/v1/accounts/a/datasets?pageSize=ten",
        "",
        "query parameter pageSize: \"ten\" is not a 32-bit integer",
    );
}

#[test]
fn replies_have_zero_values_and_masks_leave_fields_out() {
    let pool = hearth_proto::descriptor_pool();
    let desc = pool.get_message_by_name("gateway.ListDatasetsResponse").unwrap();
    let text = r#"{"datasets": [{"name": "n", "exampleCount": 5, "createTime": "2026-01-02T03:04:05Z"}]}"#;
    let message =
        DynamicMessage::deserialize(desc.clone(), &mut serde_json::Deserializer::from_str(text)).unwrap();
    let write = |message: &DynamicMessage, mask: &[&str]| {
        let mask: Vec<String> = mask.iter().map(|path| (*path).to_owned()).collect();
        String::from_utf8(json::write(message, &mask).unwrap()).unwrap()
    };
    let full = write(&message, &[]);
    for part in [
        r#""exampleCount":"5""#,
        r#""state":"STATE_UNSPECIFIED""#,
        r#""displayName":"""#,
        r#""createTime":"2026-01-02T03:04:05Z""#,
        r#""nextPageToken":"""#,
        r#""totalSize":0"#,
    ] {
        assert!(full.contains(part), "{part} in {full}");
    }
    assert_eq!(
        write(&message, &["name", "state"]),
        r#"{"datasets":[{"name":"n","state":"STATE_UNSPECIFIED"}],"nextPageToken":"","totalSize":0}"#
    );
    assert_eq!(write(&DynamicMessage::new(desc), &[]), r#"{"datasets":[],"nextPageToken":"","totalSize":0}"#);
}

/// Every RPC that has an HTTP form has a path, so that REST clients miss nothing.
#[test]
fn every_rpc_with_an_http_form_has_a_path() {
    let transcoder = Transcoder::new();
    let mut named: Vec<String> = Vec::new();
    for route in transcoder.table.routes() {
        if let Target::Rpc { method, .. } = &route.target {
            named.push(method.name().to_owned());
        }
    }
    for method in json::service(&hearth_proto::descriptor_pool()).methods() {
        let has_path = named.iter().any(|name| name == method.name());
        assert_eq!(has_path, hearth_proto::http_rule(&method).is_some(), "{} and its path", method.name());
    }
}

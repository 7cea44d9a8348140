//! `filter` and `orderBy` of every list, against what the list shows.

use serde_json::{Value, json};

use crate::server::{Server, install_model};
use crate::supervised_fine_tuning_job::JOBS;

const DATASETS: &str = "/v1/accounts/default/datasets";
/// Made for each reply.
const NOT_ASKED: [&str; 4] =
    ["metricsFileSignedUrl", "trainerLogsSignedUrl", "deployedModelRefs", "supportsServerless"];

fn server() -> Server {
    let server = crate::supervised_fine_tuning_job::server();
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    server.post(DATASETS, &json!({"datasetId": "empty", "dataset": {"displayName": "Empty * [one]"}})).ok();
    crate::dataset::render_preview::install(server.dir.path());
    let own = hearth_data::template::source_of(&crate::dataset::render_preview::tiny()).unwrap();
    let jobs = [
        ("first", json!({"displayName": "A b", "epochs": 2, "learningRate": 0.0003})),
        (
            "second",
            json!({"displayName": "a B", "epochs": 3, "isTurbo": true, "jinjaTemplate": own, "baseModel": "words"}),
        ),
        ("third", json!({"displayName": "zz", "epochs": 2, "evaluationDataset": "rows"})),
    ];
    for (id, mut body) in jobs {
        body["dataset"] = "rows".into();
        if body["baseModel"].is_null() {
            body["baseModel"] = "tiny".into();
        }
        server.post(&format!("{JOBS}?supervisedFineTuningJobId={id}"), &body).ok();
    }
    for id in ["failed", "deleted"] {
        let body = json!({
            "baseModel": "accounts/fireworks/models/tiny", "displayName": "A", "description": "B", "enableAddons": true,
            "minReplicaCount": 1, "autoscalingPolicy": {"scaleUpWindow": "1.500s"},
        });
        crate::deployment::create(&server, id, &body).ok();
        // This model has no weights.
        let path = format!("{}/{id}", crate::deployment::PATH);
        crate::deployment::until(id, || server.get(&path).ok()["state"] == "FAILED");
    }
    server.delete("/v1/accounts/default/deployments/deleted").ok();
    server
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The last part of an item's name; keys have an id instead.
fn id(item: &Value) -> &str {
    let name = item.get("name").unwrap_or_else(|| &item["keyId"]);
    name.as_str().unwrap().rsplit('/').next().unwrap()
}

/// The last parts of the names of what a list shows.
#[track_caller]
fn ids(server: &Server, list: &str, filter: &str, order: &str) -> String {
    let more = if list.contains('?') { '&' } else { '?' };
    let page = server.get(&format!("{list}{more}filter={}&orderBy={}", encoded(filter), encoded(order))).ok();
    let items = page.as_object().unwrap().values().find_map(Value::as_array).unwrap();
    let names: Vec<_> = items.iter().map(id).collect();
    assert_eq!(page["totalSize"], names.len(), "{filter}");
    names.join(" ")
}

/// Paths and values of all single values inside a resource, in the form that filters take.
fn leaves(value: &Value, path: &str, out: &mut Vec<(String, String)>) {
    for (name, value) in value.as_object().unwrap() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            _ if NOT_ASKED.contains(&name.as_str()) => {}
            Value::Object(_) => leaves(value, &path, out),
            Value::String(text) => {
                out.push((path, format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))))
            }
            Value::Number(number) => out.push((path, number.to_string())),
            Value::Bool(flag) => out.push((path, flag.to_string())),
            Value::Array(_) | Value::Null => {}
        }
    }
}

/// What a field of a list shows finds the resource, and its negation does not: no field is forgotten.
pub fn every_value_is_found(server: &Server, list: &str) {
    let page = server.get(list).ok();
    let items = page.as_object().unwrap().values().find_map(Value::as_array).unwrap().clone();
    assert!(!items.is_empty(), "{list}");
    for item in items {
        let id = id(&item).to_owned();
        let mut fields = Vec::new();
        leaves(&item, "", &mut fields);
        assert!(fields.len() > 2, "{item}");
        for (path, value) in fields {
            // A file's time to live is shown as text, as all 64-bit numbers are.
            let value = if path.ends_with("Count") { value.replace('"', "") } else { value };
            let found = |comparator: &str| {
                let found =
                    ids(server, list, &format!("{path} {comparator} {value}"), &format!("{path} desc"));
                found.split(' ').any(|found| found == id)
            };
            let has_stars = value.contains('*');
            assert!(found("="), "{list}: {id} has {path} = {value}");
            assert!(has_stars || !found("!="), "{list}: {id} has {path} = {value}");
        }
    }
}

#[test]
fn every_value_that_a_list_shows_can_be_filtered_and_sorted_by() {
    let server = server();
    let models = "/v1/accounts/default/models";
    let deployed = "/v1/accounts/default/deployedModels?showInternal=true";
    let deployments = "/v1/accounts/default/deployments?showDeleted=true";
    let (users, keys) = ("/v1/accounts/default/users", "/v1/accounts/default/apiKeys");
    let catalogue = "/v1/accounts/fireworks/models";
    for list in [JOBS, DATASETS, models, deployed, deployments, catalogue, "/v1/accounts", users, keys] {
        every_value_is_found(&server, list);
    }
}

#[test]
fn filters_find_what_they_say() {
    let server = server();
    let jobs = |filter: &str, expect: &str| assert_eq!(ids(&server, JOBS, filter, ""), expect, "{filter}");
    jobs("", "first second third");
    jobs("epochs = 2", "first third");
    jobs("epochs = 2 AND display_name = zz", "third");
    jobs("epochs=2 displayName:b", "first");
    jobs("epochs > 2 OR displayName = \"zz\"", "second third");
    jobs("NOT (epochs = 2 AND is_turbo = false)", "second");
    jobs("-epochs=2", "second");
    jobs("learning_rate = 0.0003", "first");
    jobs("learning_rate < 0.01 learning_rate >= 0.0003 isTurbo = true", "second");
    jobs("state = JOB_STATE_PENDING", "first second third");
    jobs("state != JOB_STATE_PENDING", "");
    jobs("state = JOB_STATE_COMPLETED OR epochs = 3", "second");
    jobs("name = \"accounts/default/supervisedFineTuningJobs/f*\"", "first");
    jobs("name != \"*t\"", "second third");
    jobs("baseModel = accounts/fireworks/models/tiny", "first third");
    jobs("evaluation_dataset : rows", "third");
    jobs("evaluation_dataset = \"\"", "first second");
    jobs("create_time > \"2020-01-01T00:00:00Z\"", "first second third");
    jobs("createTime > 2020-01-01T00:00:00+02:00 AND create_time < 2021-01-01T00:00:00.0005Z", "");
    // A job that has not ended has no time of its end: it is not before any, and not equal to any.
    jobs("completed_time < 2999-01-01T00:00:00Z", "");
    jobs("NOT completed_time < 2999-01-01T00:00:00Z", "first second third");
    jobs("completed_time != 2999-01-01T00:00:00Z", "first second third");
    // Fields that no row of this server has.
    jobs("wandb_config.project = x", "");
    jobs("wandb_config.project != x early_stop = false", "first second third");
    jobs("mtp_num_draft_tokens >= 0", "first second third");
    jobs("extra_args:x", "");
    let datasets =
        |filter: &str, expect: &str| assert_eq!(ids(&server, DATASETS, filter, ""), expect, "{filter}");
    datasets("display_name = 'Empty * [one]'", "empty");
    datasets("display_name = 'Empty*[one]'", "empty");
    datasets("display_name = 'Empty*[eno]'", "");
    datasets("state = READY", "rows");
    datasets("format != CHAT", "empty");
    let models = |filter: &str, expect: &str| {
        assert_eq!(ids(&server, "/v1/accounts/default/models", filter, ""), expect, "{filter}");
    };
    models("peft_details.target_modules:q_proj", "mine");
    models("peft_details.target_modules:\"*_proj\"", "mine");
    models("peftDetails.targetModules:q", "");
    models("annotations.team = blue OR annotations:blue", "");
    models("kind = HF_PEFT_ADDON AND peft_details.r > 0", "mine");
}

#[test]
fn lists_are_sorted_by_any_field_and_pages_follow_the_order() {
    let server = server();
    let sorted = |order: &str, expect: &str| assert_eq!(ids(&server, JOBS, "", order), expect, "{order}");
    sorted("epochs", "first third second");
    sorted("epochs desc, name desc", "second third first");
    sorted("epochs,display_name desc", "third first second");
    sorted("completed_time desc", "third second first");
    sorted("early_stop, isTurbo desc", "second third first");
    for order in [
        "epochs desc",
        "jinja_template desc",
        "learningRate,epochs",
        "completed_time,name desc",
        "displayName",
        "create_time desc",
    ] {
        let whole = ids(&server, JOBS, "epochs > 0", order);
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = server
                .get(&format!(
                    "{JOBS}?pageSize=1&pageToken={token}&filter={}&orderBy={}",
                    encoded("epochs > 0"),
                    encoded(order)
                ))
                .ok();
            assert_eq!(page["totalSize"], 3);
            let name = page["supervisedFineTuningJobs"][0]["name"].as_str().unwrap();
            found.push(name.rsplit('/').next().unwrap().to_owned());
            token = page["nextPageToken"].as_str().unwrap().to_owned();
            assert!(token.len() < 512, "{order}: {} bytes", token.len());
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found.join(" "), whole, "{order}");
    }
}

#[test]
fn a_page_token_belongs_to_its_filter() {
    let server = server();
    let page = server.get(&format!("{JOBS}?pageSize=1&filter={}", encoded("epochs = 2"))).ok();
    let token = page["nextPageToken"].as_str().unwrap();
    let with =
        |filter: &str| server.get(&format!("{JOBS}?pageSize=1&filter={}&pageToken={token}", encoded(filter)));
    assert_eq!(with("epochs = 2").status, 200);
    assert_eq!(with("epochs = 3").status, 400);
    assert_eq!(with("").status, 400);
}

#[test]
fn a_filter_is_no_sql_and_what_is_wrong_is_named() {
    let server = server();
    assert_eq!(ids(&server, JOBS, "display_name = \"' OR 1=1 --\"", ""), "");
    let wrong = |filter: &str, part: &str| {
        let (status, code, message) = server.get(&format!("{JOBS}?filter={}", encoded(filter))).error();
        assert!((status, code) == (400, 3) && message.contains(part), "{filter}: {status} {message}");
    };
    wrong("state > JOB_STATE_PENDING", "state takes = != or :, not >");
    wrong("epochs : 2", "epochs takes no :; use =");
    wrong("learning_rate = nan", "learning_rate takes a number");
    wrong("create_time = yesterday", "create_time takes a time like");
    wrong("status = x", "status has fields of its own");
    wrong("name.x = y", "has no fields");
    wrong("is_turbo = 1", "is_turbo takes true or false");
    wrong("metricsFileSignedUrl = x", "made for each reply");
    wrong("just words", "expected one of");
    let path = format!("{}?filter=", crate::deployment::PATH);
    let window = "autoscaling_policy.scale_up_window";
    for (filter, found) in [(">= 1.5s", 2), ("< \"30s\"", 1), ("= 1500ms", -1), (": 1s", -1)] {
        let reply = server.get(&format!("{path}{}", encoded(&format!("{window} {filter}")))).json();
        assert_eq!(reply["totalSize"].as_i64().unwrap_or(-1), found, "{filter}: {reply}");
    }
    wrong("display_name < \"a*\"", "takes no *");
}

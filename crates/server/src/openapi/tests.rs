//! The document is complete, consistent, like the hosted service's, and the committed one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::transcode::routes::BodyTarget;

mod hosted;

/// Every value in a tree, with its JSON pointer.
fn walk<'a>(value: &'a Value, at: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(at, value);
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(inner, &format!("{at}/{name}"), visit);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                walk(inner, &format!("{at}/{index}"), visit);
            }
        }
        _ => {}
    }
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut all = Vec::new();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for (verb, value) in verbs.as_object().unwrap() {
            all.push((verb.clone(), path.clone(), value));
        }
    }
    all
}

#[test]
fn references_lead_somewhere_and_nothing_is_left_over() {
    let document = document();
    let mut used = BTreeSet::new();
    walk(&document, "", &mut |at, value| {
        let Some(reference) = value["$ref"].as_str() else { return };
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some_and(Value::is_object), "{at} refers to {reference}");
        used.insert(reference.to_owned());
    });
    for kind in ["schemas", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "{name} is not used");
        }
    }
}

#[test]
fn operations_are_named_once_and_describe_their_paths() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (verb, path, value) in operations(&document) {
        let shown = format!("{verb} {path}");
        let id = value["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} stands twice");
        assert!(!value["summary"].as_str().unwrap().is_empty(), "{shown} has no summary");
        let in_path: BTreeSet<&str> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        let list = value["parameters"].as_array().cloned().unwrap_or_default();
        let described: BTreeSet<&str> =
            list.iter().filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, described, "{shown}");
        let names: BTreeSet<&str> = list.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), list.len(), "{shown} has a parameter twice");
        let is_done = ["200", "201", "204"].iter().any(|status| value["responses"][status].is_object());
        assert!(is_done, "{shown} has no reply");
    }
}

#[test]
fn every_route_of_an_rpc_is_there() {
    let document = document();
    let pool = hearth_proto::descriptor_pool();
    let table = Table::new(&crate::transcode::service(&pool));
    for route in table.routes() {
        let (path, _) = operation::path(&route.template);
        let verb = route.verb.as_str().to_ascii_lowercase();
        assert!(document["paths"][&path][&verb].is_object(), "{verb} {path}");
    }
}

/// Every field of an example is one of the message.
#[test]
fn examples_are_requests() {
    let document = document();
    let mut found = 0;
    let pool = hearth_proto::descriptor_pool();
    let table = Table::new(&crate::transcode::service(&pool));
    for route in table.routes() {
        let Target::Rpc { method, body } = &route.target else { continue };
        let (path, _) = operation::path(&route.template);
        let operation = &document["paths"][&path][route.verb.as_str().to_ascii_lowercase()];
        let Some(example) = operation["requestBody"]["content"]["application/json"].get("example") else {
            continue;
        };
        let desc = match body {
            BodyTarget::None => panic!("{path} takes no body"),
            BodyTarget::Message => method.input(),
            BodyTarget::Field(field) => field.kind().as_message().unwrap().clone(),
        };
        let parsed = prost_reflect::DynamicMessage::deserialize(desc, example.clone());
        assert!(parsed.is_ok(), "{path}: {parsed:?}");
        found += 1;
    }
    assert!(found > 20, "{found}");
}

#[test]
fn what_is_made_is_linked_to() {
    let document = document();
    let link =
        |path: &str, name: &str| document["paths"][path]["post"]["responses"]["200"]["links"][name].clone();
    let expect = json!({
        "operationId": "Gateway_GetDataset",
        "parameters": { "account_id": "$request.path.account_id", "dataset_id": "$request.body#/datasetId" },
    });
    assert_eq!(link("/v1/accounts/{account_id}/datasets", "GetDataset"), expect);
    let deletion = link(hosted::PATH, "DeleteSupervisedFineTuningJob");
    assert_eq!(
        deletion["parameters"]["supervised_fine_tuning_job_id"],
        "$request.query.supervisedFineTuningJobId"
    );
    for (_, path, value) in operations(&document) {
        for (name, link) in value["responses"]["200"]["links"].as_object().into_iter().flatten() {
            let id = &link["operationId"];
            assert!(
                operations(&document).iter().any(|(.., one)| one["operationId"] == *id),
                "{path}: {name}"
            );
        }
    }
}

/// `string date-time`, or the name of the component.
fn kind(schema: &Value) -> String {
    match schema["$ref"].as_str() {
        Some(reference) => reference.rsplit('/').next().unwrap().to_owned(),
        None => [&schema["type"], &schema["format"]]
            .into_iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

#[test]
fn creating_a_job_is_described_as_on_the_hosted_service() {
    let document = document();
    let operation = &document["paths"][hosted::PATH]["post"];
    assert_eq!(operation["operationId"], hosted::OPERATION_ID);
    for (name, place, is_required) in hosted::PARAMETERS {
        let found = operation["parameters"].as_array().unwrap().iter().find(|one| one["name"] == *name);
        let found = found.unwrap_or_else(|| panic!("no parameter {name}"));
        assert_eq!((&found["in"], &found["required"]), (&json!(place), &json!(is_required)), "{name}");
        assert_eq!(found["schema"]["type"], "string", "{name}");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    let reply = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    // What a request may hold and no reply does is told apart here.
    assert_eq!((kind(body), kind(reply).as_str()), (format!("{}Input", hosted::JOB), hosted::JOB));
    assert_eq!(operation["requestBody"]["required"], true);
    let schemas = &document["components"]["schemas"];
    assert_eq!(body["required"], json!(hosted::REQUIRED));
    for (component, field, expect, is_read_only) in hosted::FIELDS {
        let found = &schemas[component]["properties"][field];
        assert_eq!(&kind(found), expect, "{component}.{field}");
        assert!(!is_read_only || found["readOnly"] == true, "{component}.{field} is not read only");
    }
    for (component, values) in hosted::VALUES {
        let ours = schemas[component]["enum"].as_array().unwrap();
        for value in values.split(' ') {
            assert!(ours.contains(&json!(value)), "{component} has no {value}");
        }
        assert_eq!(schemas[component]["default"], json!(values.split(' ').next()), "{component}");
    }
}

/// Environment variable that renews the committed document.
const RENEW: &str = "HEARTH_RENEW_OPENAPI";

#[test]
fn the_committed_document_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let ours = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, &ours).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = ours.lines().zip(committed.lines()).enumerate();
    let differs = lines.find(|(_, (ours, committed))| ours != committed);
    assert!(
        ours == committed,
        "docs/openapi.json is not the document that this server serves; first difference: {differs:?}. If the API \
         was meant to change: {RENEW}=1 cargo nextest run -p hearth-server -E 'test(the_committed_document)', and \
         commit it"
    );
}

//! Links of the document: what is made by one call can be read, changed, used and deleted by others.

use serde_json::{Map, Value, json};

/// Adds links to the replies of all calls that make something under an id of the client's choice.
pub(super) fn add(paths: &mut Map<String, Value>, schemas: &Map<String, Value>) {
    let found: Vec<(String, Map<String, Value>)> = paths
        .iter()
        .filter_map(|(path, verbs)| Some((path.clone(), links(paths, schemas, path, verbs.get("post")?)?)))
        .collect();
    for (path, links) in found {
        paths[&path]["post"]["responses"]["200"]["links"] = links.into();
    }
}

/// The links of a call; `None` if it does not make a resource with a path of its own.
fn links(
    paths: &Map<String, Value>,
    schemas: &Map<String, Value>,
    path: &str,
    create: &Value,
) -> Option<Map<String, Value>> {
    let prefix = format!("{path}/{{");
    let is_item = |other: &&String| {
        other.strip_prefix(&prefix).is_some_and(|rest| rest.find('}') == Some(rest.len() - 1))
    };
    let item = paths.keys().find(is_item)?;
    let id = &item[prefix.len()..item.len() - 1];
    let from = place(schemas, create, &super::operation::json_name(id))?;
    let mut links = Map::new();
    // What is done with it stands under its path, perhaps behind a colon.
    let its = paths.iter().filter(|(path, _)| {
        path.strip_prefix(item.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    for operation in its.flat_map(|(_, verbs)| verbs.as_object().into_iter().flat_map(Map::values)) {
        let Some(operation_id) = operation["operationId"].as_str() else { continue };
        let parameters = json!({ "account_id": "$request.path.account_id", id: from });
        links.insert(
            operation_id.trim_start_matches("Gateway_").to_owned(),
            json!({ "operationId": operation_id, "parameters": parameters }),
        );
    }
    Some(links)
}

/// Where a request holds the id of what it makes.
fn place(schemas: &Map<String, Value>, create: &Value, name: &str) -> Option<String> {
    let parameters = create["parameters"].as_array()?;
    if parameters.iter().any(|one| one["name"] == name) {
        return Some(format!("$request.query.{name}"));
    }
    let body = create["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
    let schema = &schemas[body.rsplit('/').next()?];
    schema["properties"].get(name).map(|_| format!("$request.body#/{name}"))
}

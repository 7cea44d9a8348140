//! The OpenAPI document as one readable page: plain HTML with its style inside, and nothing that is fetched.
//!
//! Everything stands in the page's text, so the browser's own search finds it. What the page may load is nothing:
//! its Content-Security-Policy allows the one style sheet, by its hash.

mod fields;
mod html;
mod operation;

use base64::Engine as _;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use html::Html;

/// The style of the page.
const STYLE: &str = include_str!("style.css");

/// Headers of the page.
pub(crate) fn headers() -> [(HeaderName, HeaderValue); 4] {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_str(&policy).expect("a policy is a header value"),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

/// One heading of the page and the operations under it.
struct Group<'a> {
    title: String,
    about: &'a str,
    operations: Vec<Shown<'a>>,
}

/// An operation of the document.
struct Shown<'a> {
    verb: &'a str,
    path: &'a str,
    value: &'a Value,
}

/// The whole page.
pub(crate) fn page(document: &Value) -> String {
    let groups = groups(document);
    let info = &document["info"];
    let title = text(info, "title");
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>").text(title);
    html.raw(" API</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n");
    navigation(&mut html, title, &groups);
    html.raw("<main>\n<header id=\"top\">\n<h1>").text(title).raw(" API <small>");
    html.text(text(info, "version")).raw("</small></h1>\n");
    html.paragraphs(text(info, "description"));
    html.paragraphs(HOW_TO_CALL);
    html.raw("<pre><code>").text(EXPORTS).raw("</code></pre>\n");
    html.raw(
        "<p>As a document for programs: <a href=\"/openapi.json\"><code>/openapi.json</code></a> (OpenAPI ",
    );
    html.text(text(document, "openapi")).raw(").</p>\n</header>\n");
    for group in &groups {
        html.raw("<section>\n<h2 id=\"").text(&anchor(&group.title)).raw("\">").text(&group.title);
        html.raw("</h2>\n").paragraphs(group.about);
        for one in &group.operations {
            operation::write(&mut html, document, one);
        }
        html.raw("</section>\n");
    }
    schemas(&mut html, document);
    html.raw("</main>\n</body>\n</html>\n");
    html.finish()
}

/// Before the first example.
const HOW_TO_CALL: &str = "The examples use two variables of the shell: where the server is, and your key.";
/// How these are set.
const EXPORTS: &str = "export HEARTH=http://127.0.0.1:8080\nexport KEY=$(cat DATA_DIR/api-key)";

fn navigation(html: &mut Html, title: &str, groups: &[Group<'_>]) {
    html.raw("<nav aria-label=\"Contents\">\n<details>\n<summary>").text(title).raw(" API</summary>\n<ul>\n");
    for group in groups {
        html.raw("<li><a href=\"#")
            .text(&anchor(&group.title))
            .raw("\">")
            .text(&group.title)
            .raw("</a>\n<ul>\n");
        for one in &group.operations {
            html.raw("<li><a href=\"#").text(text(one.value, "operationId")).raw("\">");
            html.inline(text(one.value, "summary")).raw("</a></li>\n");
        }
        html.raw("</ul></li>\n");
    }
    html.raw("<li><a href=\"#schemas\">Schemas</a></li>\n</ul>\n</details>\n</nav>\n");
}

fn schemas(html: &mut Html, document: &Value) {
    html.raw("<section>\n<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in object(&document["components"]["schemas"]) {
        html.raw("<article class=\"schema\" id=\"").text(&fields::schema_anchor(name)).raw("\">\n<h3>");
        html.code(name).raw("</h3>\n").paragraphs(text(schema, "description"));
        fields::write(html, document, schema, fields::Side::Both);
        html.raw("</article>\n");
    }
    html.raw("</section>\n");
}

/// The control plane by collection, the rest by tag, each in the order of the document.
fn groups(document: &Value) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (path, verbs) in object(&document["paths"]) {
        for (verb, value) in object(verbs) {
            let tag = value["tags"][0].as_str().unwrap_or_default();
            let title = if tag == "Gateway" { collection(path) } else { tag.to_owned() };
            let shown = Shown { verb, path, value };
            match groups.iter_mut().find(|group| group.title == title) {
                Some(group) => group.operations.push(shown),
                None => {
                    let about = document["tags"].as_array().and_then(|tags| {
                        tags.iter()
                            .find(|one| one["name"] == title.as_str())
                            .map(|one| text(one, "description"))
                    });
                    groups.push(Group { title, about: about.unwrap_or_default(), operations: vec![shown] });
                }
            }
        }
    }
    groups
}

/// `/v1/accounts/{account_id}/apiKeys:delete` as `API keys`: its last collection.
fn collection(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let last = parts.iter().rev().find(|part| !part.starts_with('{')).copied().unwrap_or_default();
    let words =
        crate::transcode::fields::snake_case(last.split(':').next().unwrap_or_default()).replace('_', " ");
    if let Some(rest) = words.strip_prefix("api ") {
        return format!("API {rest}");
    }
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

fn anchor(title: &str) -> String {
    format!("group-{}", title.replace(' ', "-").to_ascii_lowercase())
}

/// A member that is a text; empty if it is not there.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The members of an object; none if it is something else.
fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// What a `$ref` leads to, or the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_are_read_off_paths() {
        assert_eq!(collection("/v1/accounts/{account_id}/apiKeys:delete"), "API keys");
        assert_eq!(collection("/v1/accounts/{account_id}"), "Accounts");
        assert_eq!(collection("/v1/accounts/{account_id}/datasets/{dataset_id}:upload"), "Datasets");
    }
}

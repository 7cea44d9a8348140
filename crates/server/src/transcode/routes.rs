//! The table of REST paths: which RPC answers a method and a path.

use std::sync::Arc;

use http::Method;
use prost_reflect::{DynamicMessage, FieldDescriptor, MethodDescriptor, ServiceDescriptor};

use super::template::{Captures, Template};

/// Where the body of a REST call goes.
#[derive(Clone, Debug)]
pub(crate) enum BodyTarget {
    /// There is none.
    None,
    /// Into the request message itself (`body: "*"`).
    Message,
    /// Into one field of it.
    Field(FieldDescriptor),
}

/// What answers a path.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// An RPC, called with the message that path, query and body make.
    Rpc {
        /// The RPC.
        method: MethodDescriptor,
        /// Where its body goes.
        body: BodyTarget,
    },
    /// The multipart upload of one dataset file, which no RPC describes.
    DatasetUpload,
    /// The events of a job as they happen, which no RPC describes.
    JobEventStream,
}

/// One method and path.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) verb: Method,
    /// The template as it is written.
    pub(crate) path: Arc<str>,
    pub(crate) template: Template,
    pub(crate) target: Target,
}

/// What the table says of a request.
pub(crate) enum Found<'a> {
    /// This route, with the fields taken from the path.
    Route(&'a Route, Captures),
    /// The path is known, with these methods only.
    OtherMethods(Vec<Method>),
    /// The path is not known.
    Nothing,
}

/// All routes.
pub(crate) struct Table {
    routes: Vec<Route>,
}

/// Path of the multipart upload.
const DATASET_UPLOAD_PATH: &str = "/v1/{name=accounts/*/datasets/*}:upload";

/// Path of the stream of events.
const JOB_EVENT_STREAM_PATH: &str = "/v1/{parent=accounts/*/supervisedFineTuningJobs/*}/events:stream";

impl Table {
    /// Reads the `google.api.http` option of every RPC. Panics on an option that cannot be served: the
    /// descriptors are compiled in, so that is a mistake of this program.
    pub(crate) fn new(service: &ServiceDescriptor) -> Self {
        let other = |verb: Method, path: &str, target: Target| {
            let template = Template::parse(path).expect("the path is a template");
            Route { verb, path: path.into(), template, target }
        };
        let mut routes = vec![
            other(Method::POST, DATASET_UPLOAD_PATH, Target::DatasetUpload),
            other(Method::GET, JOB_EVENT_STREAM_PATH, Target::JobEventStream),
        ];
        for method in service.methods() {
            let Some(rule) = hearth_proto::http_rule(&method) else { continue };
            routes.push(route(&method, &rule));
            for additional in list(&rule, "additional_bindings") {
                routes.push(route(&method, &additional));
            }
        }
        Self { routes }
    }

    /// Finds the route of a request; the path is still percent-encoded.
    pub(crate) fn find(&self, verb: &Method, path: &str) -> Found<'_> {
        let mut others = Vec::new();
        for route in &self.routes {
            if let Some(captures) = route.template.matches(path) {
                if route.verb == *verb {
                    return Found::Route(route, captures);
                }
                if !others.contains(&route.verb) {
                    others.push(route.verb.clone());
                }
            }
        }
        others.sort_by(|a: &Method, b| a.as_str().cmp(b.as_str()));
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }

    /// All routes, in the order of the descriptors; those of no RPC first.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn list(message: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let value = message.get_field_by_name(field);
    let items = value.as_deref().and_then(|value| value.as_list()).unwrap_or_default();
    items.iter().filter_map(|item| item.as_message().cloned()).collect()
}

fn route(method: &MethodDescriptor, rule: &DynamicMessage) -> Route {
    let rpc = method.full_name();
    let verbs = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let (path, verb) = verbs
        .into_iter()
        .map(|(field, verb)| (text(rule, field), verb))
        .find(|(path, _)| !path.is_empty())
        .unwrap_or_else(|| panic!("{rpc}: google.api.http has no path"));
    let template = Template::parse(&path).unwrap_or_else(|what| panic!("{rpc}: {what}"));
    for field_path in template.field_paths() {
        assert!(
            super::fields::resolve(&method.input(), field_path).is_some(),
            "{rpc}: no field {}",
            field_path.join(".")
        );
    }
    assert!(text(rule, "response_body").is_empty(), "{rpc}: response_body is not served");
    let body = match text(rule, "body").as_str() {
        "" => BodyTarget::None,
        "*" => BodyTarget::Message,
        name => BodyTarget::Field(
            method.input().get_field_by_name(name).unwrap_or_else(|| panic!("{rpc}: no field {name}")),
        ),
    };
    let target = Target::Rpc { method: method.clone(), body };
    Route { verb, path: path.into(), template, target }
}

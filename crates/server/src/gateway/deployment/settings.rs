//! What a client may set of a deployment. Settings that this server has one answer to may be given with that answer;
//! all others are refused by name.

use std::collections::BTreeMap;

use hearth_domain::{Autoscaling, Code, Deployment};
use hearth_proto::gateway as pb;

use crate::error::{FieldViolation, ServerError};
use crate::gateway::given;

/// Longest window, in seconds: enough for every purpose, and no number overflows.
const WINDOW_MAX_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// The deployment shape that stands for whatever the server chooses.
const DEFAULT_SHAPE: &str = "default";
/// Fields that have an effect, or one value that is true anyway.
const SUPPORTED: &[&str] = &[
    "displayName",
    "description",
    "annotations",
    "minReplicaCount",
    "maxReplicaCount",
    "autoscalingPolicy",
    "baseModel",
    "enableAddons",
    "precision",
    "worldSize",
    "generatorCount",
    "maxContextLength",
    "placement",
    "deploymentShape",
];

fn unimplemented(field: &str, description: impl Into<String>) -> ServerError {
    let violations = vec![FieldViolation { field: field.to_owned(), description: description.into() }];
    ServerError::Refused { code: Code::Unimplemented, violations }
}

/// Refuses what this server cannot do, and values other than the one that is true here.
pub(super) fn refuse_other(given: &pb::Deployment) -> Result<(), ServerError> {
    given::refuse_other("Deployment", "", given, SUPPORTED)?;
    for (field, value) in [("worldSize", given.world_size), ("generatorCount", given.generator_count)] {
        if !matches!(value, 0 | 1) {
            return Err(unimplemented(field, format!("this server has one of them, not {value}")));
        }
    }
    if let Some(placement) = &given.placement
        && (placement.region != 0
            || !placement.regions.is_empty()
            || !matches!(placement.multi_region(), pb::MultiRegion::Unspecified | pb::MultiRegion::Global))
    {
        return Err(unimplemented(
            "placement",
            "this server stands where it stands; leave it out, or say GLOBAL",
        ));
    }
    if !matches!(given.deployment_shape.as_str(), "" | DEFAULT_SHAPE) {
        return Err(unimplemented(
            "deploymentShape",
            format!("this server has no shapes to choose from; leave it out, or say {DEFAULT_SHAPE:?}"),
        ));
    }
    Ok(())
}

/// A number of replicas, which one machine has one of at most.
pub(super) fn replicas(field: &str, count: i32) -> Result<u32, ServerError> {
    match u32::try_from(count) {
        Ok(count) if count <= Deployment::REPLICAS_MAX => Ok(count),
        Ok(_) => {
            Err(ServerError::field(field, format!("is {count}, but this server is one machine: 0 or 1")))
        }
        Err(_) => Err(ServerError::field(field, format!("is {count}, which is below 0"))),
    }
}

/// A text for people.
pub(super) fn text(field: &str, text: &str, max_chars: usize) -> Result<String, ServerError> {
    let chars = text.chars().count();
    if chars > max_chars {
        return Err(ServerError::field(field, format!("has {chars} characters; {max_chars} are allowed")));
    }
    Ok(text.to_owned())
}

/// Notes of the owner's programs.
pub(super) fn annotations<'a>(
    given: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<String, String>, ServerError> {
    let (most, chars) = (Deployment::ANNOTATIONS_MAX, Deployment::ANNOTATION_MAX_CHARS);
    if given.len() > most {
        return Err(ServerError::field("annotations", format!("more than {most} entries")));
    }
    let entry = |(key, value): (&String, &String)| {
        Ok((text("annotations", key, chars)?, text("annotations", value, chars)?))
    };
    given.map(entry).collect()
}

/// The windows; those that are not given stay as they are.
pub(super) fn autoscaling(
    given: Option<&pb::AutoscalingPolicy>,
    before: Autoscaling,
) -> Result<Autoscaling, ServerError> {
    let Some(policy) = given else { return Ok(before) };
    if !policy.load_targets.is_empty() {
        return Err(unimplemented(
            "autoscalingPolicy.loadTargets",
            "there is one replica at most, whatever the load; leave it out",
        ));
    }
    let scale = Autoscaling::SCALE_WINDOW_MAX_MS;
    Ok(Autoscaling {
        scale_up_window_ms: window(
            "scaleUpWindow",
            policy.scale_up_window,
            before.scale_up_window_ms,
            0,
            scale,
        )?,
        scale_down_window_ms: window(
            "scaleDownWindow",
            policy.scale_down_window,
            before.scale_down_window_ms,
            0,
            scale,
        )?,
        scale_to_zero_window_ms: window(
            "scaleToZeroWindow",
            policy.scale_to_zero_window,
            before.scale_to_zero_window_ms,
            Autoscaling::TO_ZERO_WINDOW_MIN_MS,
            WINDOW_MAX_SECONDS * 1000,
        )?,
    })
}

fn window(
    name: &str,
    given: Option<prost_types::Duration>,
    before_ms: i64,
    min_ms: i64,
    max_ms: i64,
) -> Result<i64, ServerError> {
    let Some(given) = given else { return Ok(before_ms) };
    let wrong = |what: String| ServerError::field(&format!("autoscalingPolicy.{name}"), what);
    if given.seconds.abs() > WINDOW_MAX_SECONDS || given.nanos % 1_000_000 != 0 {
        return Err(wrong(format!("must be whole milliseconds, and {WINDOW_MAX_SECONDS} seconds at most")));
    }
    let ms = given.seconds * 1000 + i64::from(given.nanos / 1_000_000);
    if !(min_ms..=max_ms).contains(&ms) {
        return Err(wrong(format!(
            "is {} seconds; it must be between {} and {}",
            ms as f64 / 1000.0,
            min_ms / 1000,
            max_ms / 1000
        )));
    }
    Ok(ms)
}

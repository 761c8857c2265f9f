//! Patches: JSON patch, JSON merge patch, strategic merge patch.

mod strategic;

use serde_json::Value;

use super::body;
use crate::api::Resource;
use crate::api::status::Failure;
use crate::objects::Objects;

const SUPPORTED: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";
/// The most operations of a JSON patch.
const OPERATIONS_MAX: usize = 10_000;

/// The kind of a patch, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Merge,
    Strategic,
}

/// A patch that has been read.
pub(super) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Kind {
    /// The kind of a media type. Server-side apply is not among them.
    pub(super) fn of(media: &str) -> Result<Self, Failure> {
        match media {
            "application/json-patch+json" => Ok(Kind::Json),
            "application/merge-patch+json" => Ok(Kind::Merge),
            "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
            _ => Err(Failure::unsupported_media_type(SUPPORTED)),
        }
    }
}

impl Patch {
    /// Reads a patch.
    pub(super) fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, Failure> {
        let value = body::json(bytes)?;
        let wrong = |expected: &str| Failure::bad_request(format!("error decoding patch: expected {expected}"));
        match kind {
            Kind::Json if value.as_array().is_some_and(|operations| operations.len() > OPERATIONS_MAX) => {
                Err(Failure::too_large(OPERATIONS_MAX))
            }
            Kind::Json => serde_json::from_value(value)
                .map(Patch::Json)
                .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}"))),
            Kind::Merge if value.is_object() => Ok(Patch::Merge(value)),
            Kind::Strategic if value.is_object() => Ok(Patch::Strategic(value)),
            Kind::Merge | Kind::Strategic => Err(wrong("a JSON object")),
        }
    }

    /// The object that comes of the patch.
    pub(super) fn apply(&self, objects: &Objects, resource: &Resource, old: &Value) -> Result<Value, Failure> {
        let mut new = old.clone();
        match self {
            Patch::Json(patch) => {
                json_patch::patch(&mut new, patch).map_err(|error| {
                    Failure::unprocessable(format!(
                        "the server rejected our request due to an error in our request: {error}"
                    ))
                })?;
            }
            Patch::Merge(patch) => json_patch::merge(&mut new, patch),
            Patch::Strategic(patch) => {
                let message = objects.message(resource);
                strategic::apply(objects.schema(), message, &mut new, patch)
                    .map_err(|error| Failure::bad_request(error.to_string()))?;
            }
        }
        Ok(new)
    }
}

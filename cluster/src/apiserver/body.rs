//! Reading request bodies: within a limit, JSON or protobuf, brought into the shape of their kind.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::options::FieldValidation;
use super::protobuf;
use crate::api::Resource;
use crate::api::schema::Schema;
use crate::api::status::Failure;
use crate::objects::Objects;

/// How much of an unwanted body is read, in bytes, and for how long.
const DRAIN_BYTES_MAX: usize = 256 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The media types of bodies other than patches.
const SUPPORTED: &str = "application/json, application/vnd.kubernetes.protobuf";

/// The media type of a body, without parameters; JSON if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match text.split(';').next().unwrap_or("").trim() {
        "" => "application/json",
        media => media,
    }
}

/// Takes a body of at most `limit` bytes.
pub(super) async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Failure> {
    match Limited::new(std::mem::take(body), limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::too_large(limit)),
        Err(error) => Err(Failure::bad_request(format!("the request body cannot be read: {error}"))),
    }
}

/// Reads what is left of a body that nobody wanted, if it is not much: otherwise the connection would have to be closed,
/// and the client's next request would fail.
pub(super) async fn drain(body: &mut Body) {
    let rest = Limited::new(std::mem::take(body), DRAIN_BYTES_MAX).collect();
    // Whether it worked or not, there is nothing more to be done with it.
    drop(tokio::time::timeout(DRAIN_TIMEOUT, rest).await);
}

/// Decodes a body into a JSON value; protobuf by the message it says it is.
pub(super) fn decode(schema: &Schema, media: &str, bytes: &[u8]) -> Result<Value, Failure> {
    match media {
        "application/json" => json(bytes),
        protobuf::MEDIA_TYPE => protobuf::decode(schema, bytes)
            .map_err(|error| Failure::bad_request(format!("the protobuf body cannot be decoded: {error}"))),
        _ => Err(Failure::unsupported_media_type(SUPPORTED)),
    }
}

/// Decodes JSON; serde_json itself limits how deep it may be nested.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::bad_request(format!("the JSON body cannot be decoded: {error}")))
}

/// Checks that a body is an object of the resource, brings it into shape and deals with unknown members as asked.
/// Returns the warnings to send along.
pub(super) fn accept(
    objects: &Objects,
    resource: &Resource,
    body: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<HeaderValue>, Failure> {
    let (kind, version) = (body["kind"].as_str().unwrap_or(""), body["apiVersion"].as_str().unwrap_or(""));
    if !kind.is_empty() && kind != resource.kind || !version.is_empty() && version != resource.api_version() {
        let expected = format!("{}, Kind={}", resource.api_version(), resource.kind);
        let message = format!("the object provided is unrecognized: expected {expected}, found {version}, Kind={kind}");
        return Err(Failure::bad_request(message));
    }
    let unknown = objects.shape(resource, body)?;
    match validation {
        _ if unknown.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(unknown.iter().filter_map(|path| warning(path)).collect()),
        FieldValidation::Strict => {
            let (kind, version) = (resource.kind, resource.version);
            let list: Vec<_> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
            let list = list.join(", ");
            let message =
                format!("{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {list}");
            Err(Failure::bad_request(message))
        }
    }
}

fn warning(path: &str) -> Option<HeaderValue> {
    let text = format!("unknown field \\\"{}\\\"", path.replace(['"', '\\'], "?"));
    HeaderValue::from_str(&format!("299 - \"{text}\"")).ok()
}

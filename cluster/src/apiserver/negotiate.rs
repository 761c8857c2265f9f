//! Which representation of an answer a client asks for.

use axum::http::{HeaderMap, header};

use crate::api::status::Failure;

/// How objects are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// As they are.
    #[default]
    Object,
    /// As rows of a table.
    Table,
    /// Only their metadata.
    Metadata,
}

/// The discovery documents a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiscoveryForm {
    /// One document with everything, `apidiscovery.k8s.io/v2`.
    Aggregated,
    /// One document per group and version.
    Legacy,
}

/// One entry of an Accept header.
#[derive(Debug, Default)]
struct Media<'a> {
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    shape: &'a str,
    quality: f32,
}

/// The shape of objects that the client likes best and this server has.
pub(super) fn shape(headers: &HeaderMap) -> Result<Shape, Failure> {
    let known = |media: &Media<'_>| match (media.shape, media.group, media.version) {
        ("", _, _) => Some(Shape::Object),
        ("Table", "meta.k8s.io", "v1") => Some(Shape::Table),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Some(Shape::Metadata),
        _ => None,
    };
    pick(headers, known).ok_or_else(|| Failure::not_acceptable("application/json"))
}

/// The form of discovery that the client likes best and this server has.
pub(super) fn discovery_form(headers: &HeaderMap) -> Result<DiscoveryForm, Failure> {
    let known = |media: &Media<'_>| match (media.shape, media.group, media.version) {
        ("", _, _) => Some(DiscoveryForm::Legacy),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Some(DiscoveryForm::Aggregated),
        _ => None,
    };
    pick(headers, known).ok_or_else(|| Failure::not_acceptable("application/json"))
}

/// The first known entry of the highest quality; the default if nothing is asked for.
fn pick<T>(headers: &HeaderMap, known: impl Fn(&Media<'_>) -> Option<T>) -> Option<T> {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut entries: Vec<Media<'_>> =
        values.iter().flat_map(|value| value.split(',')).map(parse).filter(|media| !media.kind.is_empty()).collect();
    if entries.is_empty() {
        entries.push(Media { kind: "*/*", quality: 1.0, ..Media::default() });
    }
    // A stable sort keeps the client's order among equals.
    entries.sort_by(|one, other| other.quality.total_cmp(&one.quality));
    let is_json = |media: &Media<'_>| matches!(media.kind, "application/json" | "application/*" | "*/*");
    entries.iter().filter(|media| media.quality > 0.0 && is_json(media)).find_map(known)
}

fn parse(entry: &str) -> Media<'_> {
    let mut parts = entry.split(';').map(str::trim);
    let mut media = Media { kind: parts.next().unwrap_or(""), quality: 1.0, ..Media::default() };
    for part in parts {
        match part.split_once('=') {
            Some(("g", value)) => media.group = value,
            Some(("v", value)) => media.version = value,
            Some(("as", value)) => media.shape = value,
            Some(("q", value)) => media.quality = value.parse().unwrap_or(0.0),
            _ => {}
        }
    }
    media
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: Option<&str>, expected: Option<Shape>) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        assert_eq!(shape(&headers).ok(), expected, "{accept:?}");
    }

    #[test]
    fn clients_seen_in_the_wild() {
        check(None, Some(Shape::Object));
        check(Some("application/vnd.kubernetes.protobuf, */*"), Some(Shape::Object));
        check(Some("application/vnd.kubernetes.protobuf,application/json"), Some(Shape::Object));
        check(
            Some(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            ),
            Some(Shape::Table),
        );
        check(Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), Some(Shape::Metadata));
        check(Some("application/json;q=0.1,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9"), Some(Shape::Table));
        check(Some("application/json;as=Unknown;g=x;v=v1"), None);
        check(Some("text/html"), None);
        check(Some("application/json;q=0"), None);
    }
}

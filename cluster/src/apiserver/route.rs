//! What a path asks for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::api::{self, GROUP_VERSIONS, Resource};

/// What a path asks for.
#[derive(Debug)]
pub(super) enum Route {
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/G`.
    Group(&'static str),
    /// `/api/v1`, `/apis/G/V`.
    GroupVersion(&'static str, &'static str),
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/GV`.
    OpenApi(String),
    /// Objects.
    Resource(Target),
}

/// Which objects.
#[derive(Debug)]
pub(super) struct Target {
    /// Their resource.
    pub(super) resource: &'static Resource,
    /// Their namespace; empty for all and for cluster-wide ones.
    pub(super) namespace: String,
    /// The one object, or the collection.
    pub(super) name: Option<String>,
    /// A part of the object.
    pub(super) subresource: Option<Subresource>,
}

/// A part of an object with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subresource {
    /// `/status`.
    Status,
    /// `/finalize` of namespaces.
    Finalize,
}

impl Route {
    /// Reads a path; `None` for what is not served here.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<Cow<'_, str>> = path
            .trim_matches('/')
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8())
            .collect::<Result<_, _>>()
            .ok()?;
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            // Parts of health such as `/livez/ping` are as healthy as the whole.
            ["healthz" | "livez" | "readyz", ..] => Some(Route::Health),
            ["version"] => Some(Route::Version),
            ["openapi", "v3"] => Some(Route::OpenApiIndex),
            ["openapi", "v3", rest @ ..] => Some(Route::OpenApi(rest.join("/"))),
            ["api"] => Some(Route::CoreVersions),
            ["apis"] => Some(Route::Groups),
            ["api", version] => group_version("", version).map(|(group, version)| Route::GroupVersion(group, version)),
            ["apis", group] => GROUP_VERSIONS
                .iter()
                .find(|(known, _)| known == group && !known.is_empty())
                .map(|(group, _)| Route::Group(group)),
            ["apis", group, version] if !group.is_empty() => {
                group_version(group, version).map(|(group, version)| Route::GroupVersion(group, version))
            }
            ["api", version, rest @ ..] => Target::parse("", version, rest).map(Route::Resource),
            ["apis", group, version, rest @ ..] if !group.is_empty() => {
                Target::parse(group, version, rest).map(Route::Resource)
            }
            _ => None,
        }
    }
}

fn group_version(group: &str, version: &str) -> Option<(&'static str, &'static str)> {
    GROUP_VERSIONS.into_iter().find(|known| *known == (group, version))
}

impl Target {
    fn parse(group: &str, version: &str, parts: &[&str]) -> Option<Self> {
        let (namespace, parts) = match parts {
            // The namespace itself and its parts, not something in it.
            ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => ("", parts),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            _ => ("", parts),
        };
        let (plural, rest) = parts.split_first()?;
        let resource = api::find(group, version, plural)?;
        if !namespace.is_empty() && !resource.namespaced {
            return None;
        }
        let (name, rest) = match rest {
            [] => (None, rest),
            [name, rest @ ..] => (Some((*name).to_owned()), rest),
        };
        // Objects of namespaces are only reached through one.
        if name.as_ref().is_some_and(|name| name.is_empty() || (resource.namespaced && namespace.is_empty())) {
            return None;
        }
        let subresource = match rest {
            [] => None,
            ["status"] if resource.status => Some(Subresource::Status),
            ["finalize"] if resource.plural == "namespaces" => Some(Subresource::Finalize),
            _ => return None,
        };
        Some(Self { resource, namespace: namespace.to_owned(), name, subresource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<(&str, &str, Option<&str>, Option<Subresource>)>) {
        let found = match Route::parse(path) {
            Some(Route::Resource(target)) => Some(target),
            _ => None,
        };
        let found = found
            .as_ref()
            .map(|found| (found.resource.plural, found.namespace.as_str(), found.name.as_deref(), found.subresource));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn objects() {
        check("/api/v1/pods", Some(("pods", "", None, None)));
        check("/api/v1/namespaces/a/pods/", Some(("pods", "a", None, None)));
        check("/api/v1/namespaces/a/pods/p/status", Some(("pods", "a", Some("p"), Some(Subresource::Status))));
        check("/api/v1/namespaces/a", Some(("namespaces", "", Some("a"), None)));
        check("/api/v1/namespaces/a/finalize", Some(("namespaces", "", Some("a"), Some(Subresource::Finalize))));
        check(
            "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/s",
            Some(("endpointslices", "a", Some("s"), None)),
        );
        check("/api/v1/pods/p", None);
        check("/api/v1/namespaces/a/nodes", None);
        check("/api/v1/namespaces/a/configmaps/c/status", None);
        check("/api/v2/pods", None);
        check("/apis//v1/pods", None);
        check("/api/v1/%ff", None);
    }
}

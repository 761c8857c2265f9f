//! The kinds this server knows: one row per resource, with everything that differs between them.
//!
//! Objects themselves are JSON values. A row says how they are named and addressed, what they default to, when they
//! are valid, and by which fields they can be selected.

pub mod config;
pub mod endpoints;
pub mod event;
pub mod field;
pub mod meta;
pub mod names;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod schema;
pub mod service;
pub mod status;

use serde_json::Value;

use crate::api::field::Causes;

/// Everything that differs between resources.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// The plural, as in paths.
    pub plural: &'static str,
    /// The singular, as people may type it.
    pub singular: &'static str,
    /// The kind of its objects.
    pub kind: &'static str,
    /// What kubectl also accepts.
    pub short_names: &'static [&'static str],
    /// Groups of resources such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether `status` is a subresource of its own.
    pub status: bool,
    /// The name of its message in the schema.
    pub message: &'static str,
    /// Rules of the object's name.
    pub name_rule: fn(&str) -> names::Outcome,
    /// Fields that can be selected by, beyond name and namespace: label and JSON pointer.
    pub fields: &'static [Field],
    /// Fills in what the client left out.
    pub defaults: fn(&mut Value),
    /// Checks an object on its own.
    pub validate: fn(&Value, &mut Causes),
    /// Checks what may not change: old, then new.
    pub validate_update: fn(&Value, &Value, &mut Causes),
}

/// A field objects can be selected by.
#[derive(Debug)]
pub struct Field {
    /// As it stands in a selector.
    pub label: &'static str,
    /// Where it is in the object.
    pub pointer: &'static str,
    /// What an absent value reads as.
    pub absent: &'static str,
}

impl Field {
    const fn at(label: &'static str, pointer: &'static str) -> Self {
        Self { label, pointer, absent: "" }
    }
}

/// The verbs of a resource with objects of its own.
pub const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Resource {
    /// `pods`, `endpointslices.discovery.k8s.io`: as it stands in messages.
    pub fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// `v1`, `discovery.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The verbs it has. Namespaces are not deleted by collection.
    pub fn verbs(&self) -> impl Iterator<Item = &'static str> {
        let namespaces = self.plural == "namespaces";
        VERBS.into_iter().filter(move |verb| !(namespaces && *verb == "deletecollection"))
    }
}

/// The resource of a group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|resource| resource.group == group && resource.version == version && resource.plural == plural)
}

/// The resource of an `apiVersion` and a `kind`.
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    RESOURCES.iter().find(|resource| resource.group == group && resource.version == version && resource.kind == kind)
}

/// The groups and versions served, in order of preference.
pub const GROUP_VERSIONS: [(&str, &str); 3] = [("", "v1"), ("coordination.k8s.io", "v1"), ("discovery.k8s.io", "v1")];

const CORE: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    status: false,
    message: "",
    name_rule: names::dns_subdomain,
    fields: &[],
    defaults: nothing,
    validate: anything,
    validate_update: any_change,
};

fn nothing(_: &mut Value) {}
fn anything(_: &Value, _: &mut Causes) {}
fn any_change(_: &Value, _: &Value, _: &mut Causes) {}

/// Every resource with objects.
pub static RESOURCES: &[Resource] = &[
    Resource {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        message: "core.ConfigMap",
        validate: config::validate_config_map,
        validate_update: config::validate_update,
        ..CORE
    },
    Resource {
        plural: "endpoints",
        singular: "endpoints",
        kind: "Endpoints",
        short_names: &["ep"],
        message: "core.Endpoints",
        defaults: endpoints::defaults,
        validate: endpoints::validate,
        ..CORE
    },
    Resource {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        message: "core.Event",
        fields: event::FIELDS,
        defaults: event::defaults,
        validate: event::validate,
        ..CORE
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short_names: &["ns"],
        namespaced: false,
        status: true,
        message: "core.Namespace",
        name_rule: names::dns_label,
        fields: &[Field::at("status.phase", "/status/phase")],
        defaults: namespace::defaults,
        ..CORE
    },
    Resource {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short_names: &["no"],
        namespaced: false,
        status: true,
        message: "core.Node",
        fields: &[Field { label: "spec.unschedulable", pointer: "/spec/unschedulable", absent: "false" }],
        validate: node::validate,
        validate_update: node::validate_update,
        ..CORE
    },
    Resource {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short_names: &["po"],
        categories: &["all"],
        status: true,
        message: "core.Pod",
        fields: pod::FIELDS,
        defaults: pod::defaults,
        validate: pod::validate,
        validate_update: pod::validate_update,
        ..CORE
    },
    Resource {
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        message: "core.Secret",
        fields: &[Field::at("type", "/type")],
        defaults: config::default_secret,
        validate: config::validate_secret,
        validate_update: config::validate_update,
        ..CORE
    },
    Resource {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short_names: &["sa"],
        message: "core.ServiceAccount",
        ..CORE
    },
    Resource {
        plural: "services",
        singular: "service",
        kind: "Service",
        short_names: &["svc"],
        categories: &["all"],
        status: true,
        message: "core.Service",
        name_rule: names::dns1035_label,
        fields: &[Field::at("spec.clusterIP", "/spec/clusterIP"), Field::at("spec.type", "/spec/type")],
        defaults: service::defaults,
        validate: service::validate,
        validate_update: service::validate_update,
        ..CORE
    },
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        message: "coordination.Lease",
        validate: node::validate_lease,
        ..CORE
    },
    Resource {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        kind: "EndpointSlice",
        message: "discovery.EndpointSlice",
        defaults: endpoints::slice_defaults,
        validate: endpoints::validate_slice,
        validate_update: endpoints::validate_slice_update,
        ..CORE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_message_and_a_served_group() {
        let schema = schema::Schema::build();
        for resource in RESOURCES {
            assert!(schema.find(resource.message).is_some(), "{}", resource.plural);
            assert!(GROUP_VERSIONS.contains(&(resource.group, resource.version)), "{}", resource.plural);
            assert!(std::ptr::eq(find_kind(&resource.api_version(), resource.kind).unwrap(), resource));
        }
    }
}

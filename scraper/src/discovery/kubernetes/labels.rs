//! Objects of a cluster API as target groups, with every `__meta_kubernetes_*` label that Prometheus documents.

mod endpoints;
mod meta;
mod plain;
mod pod;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::objects::{Meta, Object};
use super::watch::{Change, Kind};
use crate::config::{AttachMetadata, Role};
use crate::target::TargetGroup;
use endpoints::{references, service_of};
use meta::MetaLabels;
use plain::{ingress_group, node_group, service_group};
use pod::controller;

/// Namespace (empty for what has none) and name.
pub(super) type Key = (String, String);

/// All objects that a role's targets come from, as last seen.
#[derive(Debug)]
pub(super) struct Stores {
    role: Role,
    attach: AttachMetadata,
    objects: BTreeMap<Kind, BTreeMap<Key, Arc<Object>>>,
}

impl Stores {
    pub(super) fn new(role: Role, attach: AttachMetadata) -> Self {
        Self { role, attach, objects: BTreeMap::new() }
    }

    fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.objects.get(&kind)?.get(&(namespace.to_owned(), name.to_owned())).map(Arc::as_ref)
    }

    /// All objects of a kind; in one namespace, if that is given.
    fn all_of<'a>(&'a self, kind: Kind, namespace: Option<&'a str>) -> impl Iterator<Item = (&'a Key, &'a Object)> {
        let first = (namespace.unwrap_or("").to_owned(), String::new());
        let of_kind = self.objects.get(&kind).into_iter().flat_map(move |objects| objects.range(first.clone()..));
        let of_kind = of_kind.map(|(key, object)| (key, object.as_ref()));
        of_kind.take_while(move |(key, _)| namespace.is_none_or(|namespace| key.0 == namespace))
    }

    /// Takes a change in and adds the groups that it may alter to `affected`.
    pub(super) fn apply(&mut self, change: Change, affected: &mut BTreeSet<String>) {
        match change {
            Change::Apply(kind, object) => {
                let key = key_of(&object.metadata);
                self.affect(kind, &key, affected);
                self.objects.entry(kind).or_default().insert(key.clone(), object);
                self.affect(kind, &key, affected);
            }
            Change::Delete(kind, object) => {
                let key = key_of(&object.metadata);
                self.affect(kind, &key, affected);
                self.objects.entry(kind).or_default().remove(&key);
            }
            Change::Replace(kind, namespace, objects) => {
                let old: Vec<Key> = self.all_of(kind, namespace.as_deref()).map(|(key, _)| key.clone()).collect();
                for key in &old {
                    self.affect(kind, key, affected);
                    self.objects.entry(kind).or_default().remove(key);
                }
                for object in objects {
                    let key = key_of(&object.metadata);
                    self.objects.entry(kind).or_default().insert(key.clone(), object);
                    self.affect(kind, &key, affected);
                }
            }
        }
    }

    /// The kind whose objects make the groups.
    fn main_kind(&self) -> Kind {
        match self.role {
            Role::Node => Kind::Node,
            Role::Pod => Kind::Pod,
            Role::Service => Kind::Service,
            Role::Endpoints => Kind::Endpoints,
            Role::EndpointSlice => Kind::EndpointSlice,
            Role::Ingress => Kind::Ingress,
        }
    }

    /// The groups whose targets depend on this object.
    fn affect(&self, kind: Kind, key: &Key, affected: &mut BTreeSet<String>) {
        let main = self.main_kind();
        if kind == main {
            affected.insert(source(main, key));
            return;
        }
        let mut add = |namespace, depends: &dyn Fn(&Key, &Object) -> bool| {
            let dependent = self.all_of(main, namespace).filter(|(key, object)| depends(key, object));
            affected.extend(dependent.map(|(key, _)| source(main, key)));
        };
        let has_pods = matches!(main, Kind::Endpoints | Kind::EndpointSlice);
        let namespace = Some(key.0.as_str());
        match kind {
            Kind::Node if main == Kind::Pod => add(None, &|_, pod| pod.spec.node_name == key.1),
            Kind::Node => add(None, &|_, _| true),
            Kind::Namespace => add(Some(&key.1), &|_, _| true),
            Kind::Service => add(namespace, &|own, object| service_of(main, own, object) == Some(&key.1)),
            Kind::Pod => add(namespace, &|_, object| references(object).any(|reference| reference.name == key.1)),
            Kind::ReplicaSet | Kind::Job if has_pods => add(namespace, &|_, object| {
                let mut pods = references(object).filter_map(|r| self.find(Kind::Pod, &key.0, &r.name));
                pods.any(|pod| controller(pod).is_some_and(|owner| owner.name == key.1))
            }),
            Kind::ReplicaSet | Kind::Job => {
                add(namespace, &|_, pod| controller(pod).is_some_and(|owner| owner.name == key.1));
            }
            _ => {}
        }
    }

    /// A group as it stands; without targets if its object is gone.
    pub(super) fn group(&self, source: &str) -> TargetGroup {
        let mut parts = source.splitn(3, '/').skip(1);
        let (first, second) = (parts.next().unwrap_or(""), parts.next());
        let key = match second {
            Some(name) => (first.to_owned(), name.to_owned()),
            None => (String::new(), first.to_owned()),
        };
        let group = self.find(self.main_kind(), &key.0, &key.1).and_then(|object| self.group_of(&key, object));
        TargetGroup { source: source.to_owned(), ..group.unwrap_or_default() }
    }

    fn group_of(&self, key: &Key, object: &Object) -> Option<TargetGroup> {
        let mut group = match self.role {
            Role::Node => return Some(node_group(object)),
            Role::Pod => return self.pod_group(object),
            Role::Endpoints => return Some(self.endpoints_group(key, object)),
            Role::EndpointSlice => return Some(self.slice_group(key, object)),
            Role::Service => service_group(object),
            Role::Ingress => ingress_group(object),
        };
        let mut labels = MetaLabels { labels: group.labels.to_builder() };
        self.add_namespace(&mut labels, &key.0);
        group.labels = labels.build();
        Some(group)
    }

    /// Labels of a node, if it is known.
    fn add_node(&self, labels: &mut MetaLabels, name: &str) {
        if let Some(node) = self.find(Kind::Node, "", name) {
            labels.set("node_name", name);
            labels.object("node", &node.metadata);
        }
    }

    /// Labels of a namespace, if they are asked for and it is known.
    fn add_namespace(&self, labels: &mut MetaLabels, name: &str) {
        if self.attach.namespace
            && let Some(namespace) = self.find(Kind::Namespace, "", name)
        {
            labels.object("namespace", &namespace.metadata);
        }
    }
}

pub(super) fn key_of(meta: &Meta) -> Key {
    (meta.namespace.clone(), meta.name.clone())
}

/// The name of an object's group.
fn source(kind: Kind, key: &Key) -> String {
    let prefix = match kind {
        Kind::Node => return format!("node/{}", key.1),
        Kind::Pod => "pod",
        Kind::Service => "svc",
        Kind::Endpoints => "endpoints",
        Kind::EndpointSlice => "endpointslice",
        _ => "ingress",
    };
    format!("{prefix}/{}/{}", key.0, key.1)
}

#[cfg(test)]
mod tests;

//! Kubernetes discovery: targets from the nodes, pods, services and endpoints of a cluster API.
//!
//! One task per configured mechanism: a watch for each kind of object the role needs keeps a store in step
//! (`watch`), and each change gives anew the groups that depend on it (`labels`). Mechanisms that ask the same of the
//! same server share its watch (`shared`). The built-in cluster API and real clusters are the same to it.

mod access;
mod labels;
mod objects;
mod shared;
mod watch;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use self::access::Access;
use self::labels::Stores;
use self::shared::Selection;
pub use self::shared::Watches;
use self::watch::{Change, Kind};
use super::{Context, Sink};
use crate::config::{AttachMetadata, KubernetesSdConfig, Role};
use crate::metrics::Metrics;
use crate::target::TargetGroup;

/// How many changes may wait to be turned into targets; watches pause beyond it.
const CHANGES_MAX: usize = 1024;
/// How long changes are gathered, so that a service with a thousand pods is computed once.
pub(crate) const GATHER: Duration = Duration::from_millis(100);
/// First and longest wait after a failure to reach the API server.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Runs until the manager is gone.
pub(super) async fn run(config: KubernetesSdConfig, sink: Sink, context: Context) {
    let Context { metrics, user_agent, watches } = context;
    let mut backoff = net::backoff::Backoff::new(RETRY.0, RETRY.1);
    let access = loop {
        match Access::new(&config, &user_agent).await {
            Ok(access) => break access,
            Err(error) => {
                metrics.kubernetes_failures.inc();
                tracing::error!(%error, "kubernetes discovery cannot reach its API server");
                tokio::time::sleep(backoff.advance()).await;
            }
        }
    };
    let selections = selections_of(&config, &access);
    // What is known already must fit, since it is read only after all is asked for.
    let (changes, mut changed) = mpsc::channel(CHANGES_MAX + selections.len());
    // Held until the task is aborted: watches that nobody else listens to end then.
    let mut topics = Vec::new();
    for selection in selections {
        topics.push(watches.listen(&config, selection, &access, &metrics, changes.clone()).await);
    }
    drop(changes);
    let mut stores = Stores::new(config.role(), config.attach_metadata);
    while let Some(change) = changed.recv().await {
        let mut affected = BTreeSet::new();
        apply(&mut stores, change, &mut affected, &metrics, config.role());
        tokio::time::sleep(GATHER).await;
        while let Ok(change) = changed.try_recv() {
            apply(&mut stores, change, &mut affected, &metrics, config.role());
        }
        let groups: Vec<TargetGroup> = affected.iter().map(|key| stores.group(key)).collect();
        if !groups.is_empty() && !sink.send(groups).await {
            return;
        }
    }
}

fn apply(stores: &mut Stores, change: Change, affected: &mut BTreeSet<String>, metrics: &Metrics, role: Role) {
    let labels = vec![("role", role.as_str().to_owned()), ("event", change.event().to_owned())];
    metrics.kubernetes_events.get_or_create(&labels).inc();
    stores.apply(change, affected);
}

/// The kinds a role needs: its own and those its labels come from.
fn kinds_of(role: Role, attach: AttachMetadata) -> Vec<Kind> {
    let mut kinds = match role {
        Role::Node => vec![Kind::Node],
        Role::Service => vec![Kind::Service],
        Role::Ingress => vec![Kind::Ingress],
        Role::Pod => vec![Kind::Pod],
        Role::Endpoints => vec![Kind::Endpoints, Kind::Service, Kind::Pod],
        Role::EndpointSlice => vec![Kind::EndpointSlice, Kind::Service, Kind::Pod],
    };
    if attach.namespace && role != Role::Node {
        kinds.push(Kind::Namespace);
    }
    if kinds.contains(&Kind::Pod) {
        kinds.extend(attach.node.then_some(Kind::Node));
        kinds.extend(attach.deployment.then_some(Kind::ReplicaSet));
        kinds.extend(attach.cronjob.then_some(Kind::Job));
    }
    kinds
}

/// What a configuration watches, one set per namespace.
fn selections_of(config: &KubernetesSdConfig, access: &Access) -> Vec<Selection> {
    let kinds = kinds_of(config.role(), config.attach_metadata);
    let mut namespaces: Vec<Option<String>> = config.namespaces.names.iter().cloned().map(Some).collect();
    if config.namespaces.own_namespace {
        namespaces.extend(access.own_namespace().map(|own| Some(own.to_owned())));
    }
    if namespaces.is_empty() {
        namespaces.push(None);
    }
    let mut selections = Vec::new();
    for kind in &kinds {
        let selector = config.selectors.iter().find(|s| Some(s.role) == kind.role());
        let (label, field) = selector.map_or_else(Default::default, |s| (s.label.clone(), s.field.clone()));
        let all = [None];
        let places: &[Option<String>] = if kind.has_namespace() { &namespaces } else { &all };
        for namespace in places {
            selections.push(Selection {
                kind: *kind,
                namespace: namespace.clone(),
                label_selector: label.clone(),
                field_selector: field.clone(),
            });
        }
    }
    selections
}

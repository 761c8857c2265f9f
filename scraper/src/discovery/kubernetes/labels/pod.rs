//! Pods: a target for each port of each container.

use model::labels::Labels;

use super::super::objects::{Container, Object, OwnerReference};
use super::super::watch::Kind;
use super::Stores;
use super::meta::{MetaLabels, host};
use crate::target::TargetGroup;

impl Stores {
    pub(super) fn pod_group(&self, pod: &Object) -> Option<TargetGroup> {
        if pod.status.pod_ip.is_empty() {
            return None;
        }
        let mut labels = MetaLabels::new();
        labels.set("namespace", &pod.metadata.namespace);
        self.add_pod(&mut labels, pod);
        if self.attach.node {
            // Pods on nodes that a selector left out are left out as well.
            self.find(Kind::Node, "", &pod.spec.node_name)?;
            self.add_node(&mut labels, &pod.spec.node_name);
        }
        self.add_namespace(&mut labels, &pod.metadata.namespace);
        let mut targets = Vec::new();
        for (container, init) in containers(pod) {
            if container.ports.is_empty() {
                let mut target = MetaLabels::new();
                target.address(&host(&pod.status.pod_ip));
                add_container(&mut target, pod, container, init);
                targets.push(target.build());
            }
            for port in 0..container.ports.len() {
                targets.push(container_target(pod, container, init, port));
            }
        }
        Some(TargetGroup { source: String::new(), targets, labels: labels.build() })
    }

    /// Labels of a pod, for its own targets and for those that stand for it.
    pub(super) fn add_pod(&self, labels: &mut MetaLabels, pod: &Object) {
        let ready = pod.status.conditions.iter().find(|c| c.r#type == "Ready");
        labels.set("pod_name", &pod.metadata.name);
        labels.set("pod_ip", &pod.status.pod_ip);
        labels.set("pod_ready", &ready.map_or_else(|| "unknown".into(), |c| c.status.to_lowercase()));
        labels.set("pod_phase", &pod.status.phase);
        labels.set("pod_node_name", &pod.spec.node_name);
        labels.set("pod_host_ip", &pod.status.host_ip);
        labels.set("pod_uid", &pod.metadata.uid);
        if let Some(owner) = controller(pod) {
            labels.set("pod_controller_kind", &owner.kind);
            labels.set("pod_controller_name", &owner.name);
            self.add_owners(labels, &pod.metadata.namespace, owner);
        }
        labels.object("pod", &pod.metadata);
    }

    /// What stands behind a pod's controller.
    fn add_owners(&self, labels: &mut MetaLabels, namespace: &str, owner: &OwnerReference) {
        let behind = |kind, wanted: &str| {
            let object = self.find(kind, namespace, &owner.name)?;
            controller(object).filter(|owner| owner.kind == wanted).map(|owner| owner.name.clone())
        };
        match owner.kind.as_str() {
            "ReplicaSet" if self.attach.deployment => {
                if let Some(name) = behind(Kind::ReplicaSet, "Deployment") {
                    labels.set("pod_deployment_name", &name);
                }
            }
            "Job" => {
                if self.attach.job {
                    labels.set("pod_job_name", &owner.name);
                }
                if self.attach.cronjob
                    && let Some(name) = behind(Kind::Job, "CronJob")
                {
                    labels.set("pod_cronjob_name", &name);
                }
            }
            _ => {}
        }
    }
}

/// The object that controls this one.
pub(super) fn controller(object: &Object) -> Option<&OwnerReference> {
    object.metadata.owner_references.iter().find(|owner| owner.controller)
}

/// Containers, and whether they are those that run first.
pub(super) fn containers(pod: &Object) -> impl Iterator<Item = (&Container, bool)> {
    let running = pod.spec.containers.iter().map(|c| (c, false));
    running.chain(pod.spec.init_containers.iter().map(|c| (c, true)))
}

pub(super) fn add_container(target: &mut MetaLabels, pod: &Object, container: &Container, init: bool) {
    let statuses = if init { &pod.status.init_container_statuses } else { &pod.status.container_statuses };
    let id = statuses.iter().find(|s| s.name == container.name).map_or("", |s| s.container_id.as_str());
    target.set("pod_container_name", &container.name);
    target.set("pod_container_id", id);
    target.set("pod_container_image", &container.image);
    target.set("pod_container_init", if init { "true" } else { "false" });
}

pub(super) fn container_target(pod: &Object, container: &Container, init: bool, port: usize) -> Labels {
    let port = &container.ports[port];
    let mut target = MetaLabels::new();
    target.address(&format!("{}:{}", host(&pod.status.pod_ip), port.container_port));
    add_container(&mut target, pod, container, init);
    target.set("pod_container_port_name", &port.name);
    target.set("pod_container_port_number", &port.container_port.to_string());
    target.set("pod_container_port_protocol", &port.protocol);
    target.build()
}

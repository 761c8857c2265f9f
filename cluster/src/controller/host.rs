//! The agent of the machine this process runs on. It registers the machine as a Node and stands for what runs there
//! outside of the cluster.
//!
//! It starts no containers. A pod that is bound to this node, uses the host's network and bears the annotation
//! `cresset.io/external: "true"` describes a process that somebody else runs: the agent reports it as running at the
//! node's address, and as ready while all its TCP ports accept connections. Other pods of this node stay Pending, and
//! an Event says why. Pods of this node that are being deleted go at once: there is nothing to wait for.

mod facts;
mod pods;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use net::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::follow::{Follow, until_stopped};
use crate::api::status::Failure;
use crate::api::{self, meta};
use crate::client::{Local, Place};
pub(crate) use facts::architecture;

/// The annotation of pods that describe a process run by somebody else.
pub const EXTERNAL: &str = "cresset.io/external";
/// The label of nodes that a process registered for itself.
pub const SELF_REGISTERED: &str = "cresset.io/self-registered";
/// The most pods of this node.
pub const PODS_MAX: usize = 110;

/// How often the ports of external pods are tried.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How often the node's lease is renewed, and how long it lasts.
const LEASE_INTERVAL: Duration = Duration::from_secs(60);
const LEASE_SECONDS: u64 = 180;

/// The machine, as the cluster knows it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name of the Node.
    pub name: String,
    /// Its InternalIP, and the IP of external pods on it.
    pub address: IpAddr,
    /// Labels of the Node beyond those that every node has.
    pub labels: Vec<(String, String)>,
}

impl Host {
    /// This machine under its host name, reachable at an address.
    pub fn local(address: IpAddr) -> Self {
        Self { name: facts::host_name(), address, labels: Vec::new() }
    }
}

/// Registers the node; nodes that earlier runs registered under other names go.
pub(crate) async fn register(local: &Local, host: &Host) -> Result<(), Failure> {
    for node in local.list("v1", "Node", "").await? {
        let registered = meta::labels(&node).is_some_and(|labels| labels.contains_key(SELF_REGISTERED));
        if registered && meta::name(&node) != host.name {
            local.delete(&Place::new("v1", "Node", "", meta::name(&node))).await?;
        }
    }
    let place = Place::new("v1", "Node", "", &host.name);
    let old = local.get(&place).await?;
    local.apply(facts::node(host, old.as_deref(), jiff::Timestamp::now())).await?;
    renew_lease(local, host).await
}

/// Stands for the machine until the signal is raised.
pub async fn run(local: Local, host: Host, shutdown: Shutdown) {
    let resource = api::find("", "v1", "pods").expect("pods are in the table");
    until_stopped(&shutdown, async {
        let mut follow = Follow::new(resource);
        let mut external: HashMap<String, Arc<Value>> = HashMap::new();
        let mut probe = tokio::time::interval(PROBE_INTERVAL);
        let mut lease = tokio::time::interval_at(Instant::now() + LEASE_INTERVAL, LEASE_INTERVAL);
        loop {
            tokio::select! {
                steps = follow.next(local.objects()) => {
                    let mut fresh = Vec::new();
                    for step in steps {
                        if let (None, Some(before)) = (&step.after, &step.before) {
                            external.remove(meta::uid(before));
                        }
                        let Some(pod) = step.after else { continue };
                        external.remove(meta::uid(&pod));
                        match pods::look(&local, &host, &pod).await {
                            Ok(pods::Look::External) if external.len() < PODS_MAX => {
                                external.insert(meta::uid(&pod).to_owned(), Arc::clone(&pod));
                                fresh.push(pod);
                            }
                            Ok(_) => {}
                            Err(failure) => tracing::warn!(pod = meta::name(&pod), %failure, "cannot look after pod"),
                        }
                    }
                    let keep = fresh.iter().map(|pod| pods::keep(&local, &host, pod));
                    futures_util::future::join_all(keep).await;
                }
                _ = probe.tick() => {
                    let keep = external.values().map(|pod| pods::keep(&local, &host, pod));
                    futures_util::future::join_all(keep).await;
                }
                _ = lease.tick() => {
                    if let Err(failure) = renew_lease(&local, &host).await {
                        tracing::warn!(%failure, "cannot renew the node's lease");
                    }
                }
            }
        }
    })
    .await;
}

async fn renew_lease(local: &Local, host: &Host) -> Result<(), Failure> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let lease = json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": { "name": host.name, "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": host.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now },
    });
    local.apply(lease).await.map(|_| ())
}

//! Endpoints and EndpointSlices of Services: kept as the pods that a Service selects are.
//!
//! A Service with a selector owns an Endpoints object of its name and slices made from the same plan. Endpoints that
//! somebody wrote for a Service without a selector are mirrored into slices.

mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use net::shutdown::Shutdown;
use serde_json::Value;

use super::follow::{Follow, until_stopped};
use crate::api::status::Failure;
use crate::api::{self, meta};
use crate::client::{Local, Place};
use plan::{Plan, SERVICE_NAME};

/// Namespace and name of a Service.
type ServiceKey = (String, String);

/// Follows services, pods and what they add up to until the signal is raised.
pub async fn run(local: Local, shutdown: Shutdown) {
    let table = |group: &str, plural: &str| api::find(group, "v1", plural).expect("a resource of the table");
    let (services, pods) = (table("", "services"), table("", "pods"));
    let (endpoints, slices) = (table("", "endpoints"), table("discovery.k8s.io", "endpointslices"));
    until_stopped(&shutdown, async {
        let mut follow = [services, pods, endpoints, slices].map(Follow::new);
        let objects = local.objects();
        loop {
            let [services, pods, endpoints, slices] = &mut follow;
            let (mut dirty, mut gone): (BTreeSet<ServiceKey>, BTreeSet<ServiceKey>) = Default::default();
            let (steps, touched): (_, fn(&Value) -> Option<String>) = tokio::select! {
                steps = services.next(objects) => {
                    let last = steps.iter().filter(|step| step.after.is_none()).filter_map(|step| step.before.as_ref());
                    gone.extend(last.map(|service| (meta::namespace(service).to_owned(), meta::name(service).to_owned())));
                    (steps, own_name)
                }
                steps = endpoints.next(objects) => (steps, own_name),
                steps = slices.next(objects) => (steps, sliced_name),
                steps = pods.next(objects) => {
                    let pods: Vec<Arc<Value>> = steps.into_iter().flat_map(|step| [step.before, step.after]).flatten().collect();
                    if let Err(failure) = selecting(&local, &pods, &mut dirty).await {
                        tracing::warn!(%failure, "cannot list services");
                    }
                    (Vec::new(), own_name)
                }
            };
            for object in steps.iter().filter_map(|step| step.after.as_ref().or(step.before.as_ref())) {
                dirty.extend(touched(object).map(|name| (meta::namespace(object).to_owned(), name)));
            }
            for key in dirty {
                let deleted = gone.contains(&key);
                let (namespace, name) = key;
                if let Err(failure) = reconcile(&local, &namespace, &name, deleted).await {
                    tracing::warn!(namespace, service = name, %failure, "cannot keep endpoints");
                }
            }
        }
    })
    .await;
}

fn own_name(object: &Value) -> Option<String> {
    Some(meta::name(object).to_owned())
}

fn sliced_name(slice: &Value) -> Option<String> {
    Some(meta::labels(slice)?.get(SERVICE_NAME)?.as_str()?.to_owned())
}

/// The services that select any of these pods.
async fn selecting(local: &Local, pods: &[Arc<Value>], dirty: &mut BTreeSet<ServiceKey>) -> Result<(), Failure> {
    let services = local.list("v1", "Service", "").await?;
    for pod in pods {
        let same_place = services.iter().filter(|service| meta::namespace(service) == meta::namespace(pod));
        for service in same_place.filter(|service| plan::selects(service, pod)) {
            dirty.insert((meta::namespace(service).to_owned(), meta::name(service).to_owned()));
        }
    }
    Ok(())
}

async fn reconcile(local: &Local, namespace: &str, name: &str, deleted: bool) -> Result<(), Failure> {
    let place = |kind: &str| Place::new("v1", kind, namespace, name);
    let service = local.get(&place("Service")).await?;
    let endpoints = local.get(&place("Endpoints")).await?;
    if is_terminating(local, namespace).await? {
        return Ok(());
    }
    let plan = match (&service, &endpoints) {
        (None, None) => Plan::default(),
        // Endpoints go with their Service; those that wait for one are left alone, unless they were made here.
        (None, Some(endpoints)) => {
            if deleted || plan::is_ours(endpoints) {
                local.delete(&place("Endpoints")).await?;
            }
            Plan::default()
        }
        (Some(service), endpoints) if !plan::has_selector(service) => match endpoints {
            Some(endpoints) => plan::mirror(service, endpoints),
            None => Plan::default(),
        },
        (Some(service), _) => {
            let pods = local.list("v1", "Pod", namespace).await?;
            let pods: Vec<&Value> = pods.iter().map(AsRef::as_ref).filter(|pod| plan::selects(service, pod)).collect();
            plan::from_pods(service, &pods)
        }
    };
    if let Some(endpoints) = plan.endpoints {
        local.apply(endpoints).await?;
    }
    keep_slices(local, namespace, name, plan.slices).await
}

/// Nothing can be made in a namespace that goes away or is gone.
async fn is_terminating(local: &Local, namespace: &str) -> Result<bool, Failure> {
    let found = local.get(&Place::new("v1", "Namespace", "", namespace)).await?;
    Ok(found.is_none_or(|found| meta::is_deleting(&found)))
}

/// Makes the slices of a Service be these.
async fn keep_slices(local: &Local, namespace: &str, service: &str, wanted: Vec<Value>) -> Result<(), Failure> {
    const VERSION: &str = "discovery.k8s.io/v1";
    let there = local.list(VERSION, "EndpointSlice", namespace).await?;
    let ours = |slice: &&Arc<Value>| sliced_name(slice).as_deref() == Some(service) && plan::is_managed(slice);
    for slice in there.iter().filter(ours) {
        let name = meta::name(slice);
        if !wanted.iter().any(|wanted| meta::name(wanted) == name) {
            local.delete(&Place::new(VERSION, "EndpointSlice", namespace, name)).await?;
        }
    }
    for slice in wanted {
        local.apply(slice).await?;
    }
    Ok(())
}

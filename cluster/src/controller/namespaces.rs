//! Namespaces: what every namespace contains from its birth, and emptying those that are deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use net::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::follow::{Follow, Step, due, until_stopped};
use crate::api::status::Failure;
use crate::api::{self, RESOURCES, meta, namespace};
use crate::objects::{DeleteOptions, Objects, Part, Run};

/// The account of a namespace's pods, and the map with the authority's certificate.
const ACCOUNT: &str = "default";
const AUTHORITY: &str = "kube-root-ca.crt";

/// How soon a namespace is looked at again whose contents take time to go.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows namespaces until the signal is raised.
pub async fn run(objects: Arc<Objects>, authority: String, shutdown: Shutdown) {
    let table = |plural: &str| api::find("", "v1", plural).expect("a resource of the table");
    let [namespaces, accounts, maps] = ["namespaces", "serviceaccounts", "configmaps"].map(table);
    until_stopped(&shutdown, async {
        let mut follow = Follow::new(namespaces);
        let (mut accounts, mut maps) = (Follow::new(accounts), Follow::new(maps));
        let mut emptying: Vec<String> = Vec::new();
        let mut retry = None;
        loop {
            let mut bare: BTreeSet<String> = BTreeSet::new();
            tokio::select! {
                steps = follow.next(&objects) => {
                    for after in steps.into_iter().filter_map(|step| step.after) {
                        let name = meta::name(&after).to_owned();
                        match meta::is_deleting(&after) {
                            true => emptying.push(name),
                            false => bare.extend([name]),
                        }
                    }
                }
                steps = accounts.next(&objects) => bare.extend(lost(steps, ACCOUNT)),
                steps = maps.next(&objects) => bare.extend(lost(steps, AUTHORITY)),
                () = due(retry) => {}
            }
            for name in bare {
                if let Err(failure) = furnish(&objects, &name, &authority).await {
                    tracing::warn!(namespace = name, %failure, "cannot furnish namespace");
                }
            }
            let mut left = Vec::new();
            for name in std::mem::take(&mut emptying) {
                match empty(&objects, &name).await {
                    Ok(true) => {}
                    Ok(false) => left.push(name),
                    Err(failure) => {
                        tracing::warn!(namespace = name, %failure, "cannot empty namespace");
                        left.push(name);
                    }
                }
            }
            left.sort();
            left.dedup();
            emptying = left;
            retry = (!emptying.is_empty()).then(|| Instant::now() + RETRY_INTERVAL);
        }
    })
    .await;
}

/// The namespaces that lost what they should have.
fn lost(steps: Vec<Step>, name: &'static str) -> impl Iterator<Item = String> {
    let gone = steps.into_iter().filter(|step| step.after.is_none()).filter_map(|step| step.before);
    gone.filter(move |before| meta::name(before) == name).map(|before| meta::namespace(&before).to_owned())
}

/// Every namespace has an account for its pods and the certificate of the authority to check the server with.
async fn furnish(objects: &Objects, name: &str, authority: &str) -> Result<(), Failure> {
    let wanted = [
        ("serviceaccounts", json!({ "metadata": { "name": ACCOUNT } })),
        ("configmaps", json!({ "metadata": { "name": AUTHORITY }, "data": { "ca.crt": authority } })),
    ];
    for (plural, body) in wanted {
        let resource = api::find("", "v1", plural).expect("a resource of the table");
        match objects.read(resource, name, meta::name(&body)).await {
            Ok(found) if found.get("data") == body.get("data") => {}
            Ok(_) => {
                let change = |old: &Value| {
                    let mut new = old.clone();
                    new["data"] = body["data"].clone();
                    Ok(new)
                };
                objects.modify(resource, (name, meta::name(&body)), Part::Main, Run::Real, change).await?;
            }
            Err(_) => match objects.create(resource, name, body, Run::Real).await {
                Err(failure) if !matches!(failure.reason, "AlreadyExists" | "Forbidden" | "NotFound") => {
                    return Err(failure);
                }
                _ => {}
            },
        }
    }
    Ok(())
}

/// Deletes what is in a namespace; once nothing is left, lets it go. Returns whether it is gone.
async fn empty(objects: &Objects, name: &str) -> Result<bool, Failure> {
    let mut left = 0;
    for resource in RESOURCES.iter().filter(|resource| resource.namespaced) {
        for object in objects.list(resource, name).await?.objects {
            match objects.delete(resource, (name, meta::name(&object)), &DeleteOptions::default()).await {
                Ok(deleted) if deleted.gone => {}
                Ok(_) => left += 1,
                Err(failure) if failure.reason == "NotFound" => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    if left > 0 {
        return Ok(false);
    }
    let namespaces = api::find("", "v1", "namespaces").expect("namespaces are in the table");
    let release = |old: &Value| {
        let mut new = old.clone();
        let kept: Vec<_> =
            meta::list(old, "/spec/finalizers").iter().filter(|one| **one != namespace::FINALIZER).cloned().collect();
        new["spec"]["finalizers"] = json!(kept);
        Ok(new)
    };
    match objects.modify(namespaces, ("", name), Part::Finalize, Run::Real, release).await {
        Err(failure) if failure.reason == "NotFound" => Ok(true),
        outcome => outcome.map(|_| true),
    }
}

//! Namespaces.

use serde_json::{Value, json};

use crate::api::meta::{default, default_text, metadata, name, root, submap};

/// The finalizer that keeps a deleted namespace until its contents are gone.
pub const FINALIZER: &str = "kubernetes";

/// The namespaces every cluster has; they cannot be deleted.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// A namespace bears its name as a label, and is active until deleted.
pub fn defaults(namespace: &mut Value) {
    let name = name(namespace).to_owned();
    submap(metadata(namespace), "labels").insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    let root = root(namespace);
    default(submap(root, "spec"), "finalizers", json!([FINALIZER]));
    default_text(submap(root, "status"), "phase", "Active");
}

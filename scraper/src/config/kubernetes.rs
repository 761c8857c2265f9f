//! `kubernetes_sd_configs`.

use std::path::Path;

use net::with_http_client;
use serde::{Deserialize, Serialize};

use super::is_default;
use super::sections::DiscoverySection;

/// What kind of object becomes a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the kinds of the cluster API")]
pub enum Role {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

impl Role {
    /// As configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Pod => "pod",
            Role::Service => "service",
            Role::Endpoints => "endpoints",
            Role::EndpointSlice => "endpointslice",
            Role::Ingress => "ingress",
        }
    }

    /// Roles whose objects may be selected where this one makes the targets.
    fn selectable(self) -> &'static [Role] {
        match self {
            Role::Pod => &[Role::Pod, Role::Node],
            Role::Service => &[Role::Service],
            Role::EndpointSlice => &[Role::Pod, Role::Service, Role::EndpointSlice],
            Role::Endpoints => &[Role::Pod, Role::Service, Role::Endpoints],
            Role::Node => &[Role::Node],
            Role::Ingress => &[Role::Ingress],
        }
    }
}

with_http_client! {
    /// `kubernetes_sd_configs`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct KubernetesSdConfig {
        /// The API server; empty means in-cluster, or what `kubeconfig_file` says.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub api_server: Option<String>,
        /// What becomes a target.
        pub role: Option<Role>,
        /// A kubeconfig with server and credentials.
        pub kubeconfig_file: String,
    } {
        /// Where to look; everywhere if empty.
        #[serde(skip_serializing_if = "is_default")]
        pub namespaces: NamespaceDiscovery,
        /// Which objects to look at.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub selectors: Vec<KubernetesSelector>,
        /// Whose metadata to add.
        #[serde(skip_serializing_if = "is_default")]
        pub attach_metadata: AttachMetadata,
    }
}

/// Namespaces that discovery looks at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceDiscovery {
    /// The namespace the program itself runs in.
    pub own_namespace: bool,
    /// By name.
    pub names: Vec<String>,
}

/// Restricts the objects of one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSelector {
    /// Of which role.
    pub role: Role,
    /// Label selector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Field selector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// Whose labels and annotations are added to targets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachMetadata {
    /// The node's that a pod runs on.
    pub node: bool,
    /// The namespace's.
    pub namespace: bool,
    /// The name of the deployment that owns a pod.
    pub deployment: bool,
    /// The name of the job that owns a pod.
    pub job: bool,
    /// The name of the cron job that owns a pod.
    pub cronjob: bool,
}

impl KubernetesSdConfig {
    /// The API server, if it is named.
    pub fn server(&self) -> Option<&str> {
        self.api_server.as_deref().filter(|server| !server.is_empty())
    }

    /// What becomes a target; checked to be there by [`DiscoverySection::validate`].
    pub fn role(&self) -> Role {
        self.role.unwrap_or(Role::Pod)
    }

    fn validate_access(&self) -> Result<(), String> {
        self.validate_http_client().map_err(|e| e.to_string())?;
        let has_client = self.http_client() != net::client::HttpClientConfig::default();
        let has_file = !self.kubeconfig_file.is_empty();
        let fault = match (self.server(), has_file) {
            (Some(_), true) => "cannot use 'kubeconfig_file' and 'api_server' simultaneously",
            (None, true) if has_client => {
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'"
            }
            (None, _) if has_client => {
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly"
            }
            (Some(_), _) if self.namespaces.own_namespace => {
                "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously"
            }
            (_, true) if self.namespaces.own_namespace => {
                "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously"
            }
            _ => return Ok(()),
        };
        Err(fault.into())
    }
}

impl DiscoverySection for KubernetesSdConfig {
    const KEY: &'static str = "kubernetes_sd_configs";
    const IS_RUN: bool = true;

    fn validate(&self) -> Result<(), String> {
        let Some(role) = self.role else {
            return Err("role missing (one of: pod, service, endpoints, endpointslice, node, ingress)".into());
        };
        self.validate_access()?;
        for (i, selector) in self.selectors.iter().enumerate() {
            if self.selectors.iter().take(i).any(|earlier| earlier.role == selector.role) {
                return Err(format!("duplicated selector role: {}", selector.role.as_str()));
            }
            if !role.selectable().contains(&selector.role) {
                let allowed: Vec<&str> = role.selectable().iter().map(|role| role.as_str()).collect();
                return Err(format!("{} role supports only {} selectors", role.as_str(), allowed.join(", ")));
            }
            validate_selector(selector)?;
        }
        Ok(())
    }

    fn resolve_paths(&mut self, directory: &Path) {
        self.resolve_http_paths(directory);
        if !self.kubeconfig_file.is_empty() {
            self.kubeconfig_file = directory.join(&self.kubeconfig_file).to_string_lossy().into_owned();
        }
    }
}

/// Checks the grammar of a selector as far as an API server would refuse it outright.
fn validate_selector(selector: &KubernetesSelector) -> Result<(), String> {
    let requirements = selector.field.split(',').filter(|part| !part.is_empty());
    if let Some(part) = requirements.into_iter().find(|part| !part.contains('=')) {
        return Err(format!("invalid selector: {:?}; can't understand {part:?}", selector.field));
    }
    let (open, close) = (selector.label.matches('(').count(), selector.label.matches(')').count());
    if open != close {
        return Err(format!(
            "unable to parse requirement: label selector {:?}: unbalanced parentheses",
            selector.label
        ));
    }
    Ok(())
}

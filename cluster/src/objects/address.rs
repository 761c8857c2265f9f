//! Giving out the addresses of Services: cluster IPs and node ports.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::Objects;
use crate::api::meta::{self, list, number, text};
use crate::api::service::{is_headless, needs_cluster_ip, needs_node_ports};
use crate::api::status::Failure;
use crate::api::{Resource, field::Causes};

/// First address of the range of cluster IPs, 10.96.0.0/16; `.0.1` is the API server's own.
pub const SERVICE_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// How many addresses the range has.
pub const SERVICE_ADDRESSES: u32 = 1 << 16;
/// The range of node ports.
pub const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;

/// Addresses in front of this one are left to those who ask for one by name.
const FIRST_DYNAMIC: u32 = 256;

impl Objects {
    /// Fills in what a Service lacks. The caller holds the lock of addresses until the Service is stored.
    pub(super) async fn allocate(&self, resource: &Resource, service: &mut Value) -> Result<(), Failure> {
        if resource.plural != "services" {
            return Ok(());
        }
        let others = self.list(resource, "").await?.objects;
        let own = (meta::namespace(service).to_owned(), meta::name(service).to_owned());
        let others: Vec<_> =
            others.iter().filter(|other| (meta::namespace(other), meta::name(other)) != (&own.0, &own.1)).collect();
        let taken: HashSet<&str> = others.iter().map(|other| text(other, "/spec/clusterIP")).collect();
        let asked = text(service, "/spec/clusterIP").to_owned();
        let mut causes = Causes::default();
        if needs_cluster_ip(service) {
            let ip = free_address(&taken).ok_or_else(|| Failure::internal("all cluster IPs are in use"))?;
            meta::submap(meta::root(service), "spec").insert("clusterIP".to_owned(), json!(ip.to_string()));
        } else if let Ok(ip) = asked.parse::<Ipv4Addr>() {
            if !in_range(ip) {
                let rule =
                    format!("failed to allocate IP {ip}: the provided IP is not in the valid range 10.96.0.0/16");
                causes.invalid("spec.clusterIPs", &json!([asked]), &rule);
            } else if taken.contains(asked.as_str()) {
                let rule = format!("failed to allocate IP {ip}: provided IP is already allocated");
                causes.invalid("spec.clusterIPs", &json!([asked]), &rule);
            }
        }
        let used: HashSet<i64> = others.iter().flat_map(|other| node_ports(other)).collect();
        allocate_node_ports(service, &used, &mut causes);
        if !causes.is_empty() {
            return Err(Failure::invalid(resource.group, resource.kind, &own.1, causes.into_vec()));
        }
        derive(service);
        Ok(())
    }

    /// A Service that is replaced without naming its addresses keeps them.
    pub(super) fn keep_addresses(&self, resource: &Resource, old: &Value, new: &mut Value) {
        if resource.plural != "services" {
            return;
        }
        let external = |service: &Value| text(service, "/spec/type") == "ExternalName";
        let spec = meta::submap(meta::root(new), "spec");
        let unset = |value: Option<&Value>| value.is_none_or(|value| *value == json!("") || *value == json!(0));
        if unset(spec.get("clusterIP")) && !external(old) && spec["type"] != "ExternalName" {
            spec.insert("clusterIP".to_owned(), old["spec"]["clusterIP"].clone());
        }
        let takes = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let before = list(old, "/spec/ports")
                .iter()
                .find(|before| before["port"] == port["port"] && before["protocol"] == port["protocol"]);
            match before.and_then(|before| before.get("nodePort")) {
                Some(number) if takes && unset(port.get("nodePort")) => port["nodePort"] = number.clone(),
                Some(number) if !takes && port.get("nodePort") == Some(number) => {
                    port.as_object_mut().and_then(|port| port.remove("nodePort"));
                }
                _ => {}
            }
        }
    }
}

fn in_range(ip: Ipv4Addr) -> bool {
    (1..SERVICE_ADDRESSES - 1).contains(&u32::from(ip).wrapping_sub(u32::from(SERVICE_NETWORK)))
}

fn free_address(taken: &HashSet<&str>) -> Option<Ipv4Addr> {
    let span = SERVICE_ADDRESSES - 1 - FIRST_DYNAMIC;
    let start = rand::random::<u32>() % span;
    (0..span)
        .map(|step| Ipv4Addr::from(u32::from(SERVICE_NETWORK) + FIRST_DYNAMIC + (start + step) % span))
        .find(|ip| !taken.contains(ip.to_string().as_str()))
}

fn node_ports(service: &Value) -> impl Iterator<Item = i64> {
    list(service, "/spec/ports").iter().filter_map(|port| number(port, "/nodePort")).filter(|&port| port != 0)
}

fn allocate_node_ports(service: &mut Value, used: &HashSet<i64>, causes: &mut Causes) {
    let mut own: HashSet<i64> = HashSet::new();
    for (index, port) in node_ports(service).enumerate() {
        let field = format!("spec.ports[{index}].nodePort");
        if !NODE_PORTS.contains(&port) {
            causes.invalid(
                &field,
                &json!(port),
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            );
        } else if used.contains(&port) {
            causes.invalid(&field, &json!(port), "provided port is already allocated");
        }
        own.insert(port);
    }
    if !needs_node_ports(service) {
        return;
    }
    let spec = meta::submap(meta::root(service), "spec");
    let span = NODE_PORTS.end() - NODE_PORTS.start() + 1;
    let start = i64::from(rand::random::<u16>()) % span;
    let mut free = (0..span).map(|step| NODE_PORTS.start() + (start + step) % span).filter(|port| !used.contains(port));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if number(port, "/nodePort").unwrap_or(0) == 0 {
            match free.find(|port| !own.contains(port)) {
                Some(number) => port["nodePort"] = json!(number),
                None => causes.required("spec.ports", "all node ports are in use"),
            }
        }
    }
}

/// What follows from the cluster IP: the list form and the families.
fn derive(service: &mut Value) {
    let headless = is_headless(service);
    let spec = meta::submap(meta::root(service), "spec");
    let ip = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    if spec["type"] == "ExternalName" {
        for member in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(member);
        }
        return;
    }
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    spec.insert("clusterIPs".to_owned(), json!([ip]));
    if !headless || spec.get("ipFamilies").is_none() {
        spec.insert("ipFamilies".to_owned(), json!([family]));
    }
    meta::default_text(spec, "ipFamilyPolicy", "SingleStack");
}

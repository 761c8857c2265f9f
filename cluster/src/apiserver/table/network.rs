//! The rows of Services, Endpoints and EndpointSlices.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Row, age, or, selector, text, wide};
use crate::api::meta::{self, list, number};

/// How many endpoints a cell names.
const ENDPOINTS_SHOWN: usize = 3;

pub(super) const SERVICE: &[Column] = &[
    text("Name"),
    text("Type"),
    text("Cluster-IP"),
    text("External-IP"),
    text("Port(s)"),
    text("Age"),
    wide("Selector"),
];
pub(super) const ENDPOINTS: &[Column] = &[text("Name"), text("Endpoints"), text("Age")];
pub(super) const SLICE: &[Column] = &[text("Name"), text("AddressType"), text("Ports"), text("Endpoints"), text("Age")];

pub(super) fn service(service: &Value, now: Timestamp) -> Row {
    let ports: Vec<_> = list(service, "/spec/ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (number(port, "/port").unwrap_or(0), meta::text(port, "/protocol"));
            match meta::number(port, "/nodePort").filter(|&port| port != 0) {
                Some(node) => format!("{number}:{node}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    vec![
        json!(meta::name(service)),
        json!(meta::text(service, "/spec/type")),
        json!(or(meta::text(service, "/spec/clusterIP"), "<none>")),
        json!(external(service)),
        json!(or(&ports.join(","), "<none>")),
        age(service, now),
        json!(selector(service, "/spec/selector")),
    ]
    .into()
}

fn external(service: &Value) -> String {
    let texts = |pointer: &str| -> Vec<String> {
        list(service, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let ips = texts("/spec/externalIPs");
    match meta::text(service, "/spec/type") {
        "ExternalName" => or(meta::text(service, "/spec/externalName"), "<unknown>").to_owned(),
        "LoadBalancer" => {
            let ingress = list(service, "/status/loadBalancer/ingress").iter();
            let given = ingress.map(|one| or(meta::text(one, "/ip"), meta::text(one, "/hostname")).to_owned());
            let all: Vec<_> = given.chain(ips).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&ips.join(","), "<none>").to_owned(),
    }
}

/// The first few of a list, and how many follow.
fn shortened(all: &[String], absent: &str) -> String {
    let shown = all.get(..ENDPOINTS_SHOWN.min(all.len())).unwrap_or(all).join(",");
    match all.len().checked_sub(ENDPOINTS_SHOWN) {
        None | Some(0) => or(&shown, absent).to_owned(),
        Some(more) => format!("{shown} + {more} more..."),
    }
}

fn socket(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

pub(super) fn endpoints(endpoints: &Value, now: Timestamp) -> Row {
    let mut all = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let addresses = || list(subset, "/addresses").iter().map(|address| meta::text(address, "/ip"));
        match list(subset, "/ports") {
            [] => all.extend(addresses().map(str::to_owned)),
            ports => {
                let numbers = ports.iter().map(|port| number(port, "/port").unwrap_or(0));
                all.extend(numbers.flat_map(|port| addresses().map(move |ip| socket(ip, port))));
            }
        }
    }
    vec![json!(meta::name(endpoints)), json!(shortened(&all, "<none>")), age(endpoints, now)].into()
}

pub(super) fn slice(slice: &Value, now: Timestamp) -> Row {
    let ports: Vec<_> = list(slice, "/ports")
        .iter()
        .map(|port| match number(port, "/port") {
            Some(number) => number.to_string(),
            None => "*".to_owned(),
        })
        .collect();
    let addresses = list(slice, "/endpoints").iter().flat_map(|endpoint| list(endpoint, "/addresses"));
    let addresses: Vec<_> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    vec![
        json!(meta::name(slice)),
        json!(meta::text(slice, "/addressType")),
        json!(shortened(&ports, "<unset>")),
        json!(shortened(&addresses, "<unset>")),
        age(slice, now),
    ]
    .into()
}

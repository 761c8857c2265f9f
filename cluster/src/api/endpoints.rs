//! Endpoints and EndpointSlices.
//!
//! Unlike upstream, loopback addresses are valid: the built-in cluster of one machine lives on them.

use serde_json::{Value, json};

use crate::api::field::Causes;
use crate::api::meta::{default_text, list, number, text};
use crate::api::names;

/// The most endpoints of one slice.
pub const SLICE_ENDPOINTS_MAX: usize = 1000;
/// The most addresses of one endpoint.
pub const ENDPOINT_ADDRESSES_MAX: usize = 100;
/// The most ports of one slice.
pub const SLICE_PORTS_MAX: usize = 20_000;

/// Ports speak TCP unless told otherwise.
pub fn defaults(endpoints: &mut Value) {
    let subsets = endpoints.get_mut("subsets").and_then(Value::as_array_mut);
    for subset in subsets.into_iter().flatten() {
        default_protocol(subset);
    }
}

/// Ports speak TCP and have a name, if only an empty one.
pub fn slice_defaults(slice: &mut Value) {
    default_protocol(slice);
    for port in slice.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            crate::api::meta::default(port, "name", "");
        }
    }
    if slice.get("endpoints").is_none_or(Value::is_null) {
        slice["endpoints"] = json!([]);
    }
}

fn default_protocol(parent: &mut Value) {
    for port in parent.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            default_text(port, "protocol", "TCP");
        }
    }
}

/// Addresses and ports of Endpoints.
pub fn validate(endpoints: &Value, causes: &mut Causes) {
    for (index, subset) in list(endpoints, "/subsets").iter().enumerate() {
        let field = format!("subsets[{index}]");
        if list(subset, "/addresses").is_empty() && list(subset, "/notReadyAddresses").is_empty() {
            causes.required(&field, "must specify `addresses` or `notReadyAddresses`");
        }
        for member in ["addresses", "notReadyAddresses"] {
            for (index, address) in subset[member].as_array().into_iter().flatten().enumerate() {
                let ip = text(address, "/ip");
                causes.check_text(&format!("{field}.{member}[{index}].ip"), ip, names::ip_address(ip));
            }
        }
        validate_ports(subset, &format!("{field}."), list(subset, "/ports").len() > 1, causes);
    }
}

/// Type, addresses and ports of an EndpointSlice.
pub fn validate_slice(slice: &Value, causes: &mut Causes) {
    let kind = text(slice, "/addressType");
    match kind {
        "" => causes.required("addressType", ""),
        _ => causes.check_one_of("addressType", kind, &["IPv4", "IPv6", "FQDN"]),
    }
    let endpoints = list(slice, "/endpoints");
    if endpoints.len() > SLICE_ENDPOINTS_MAX {
        causes.too_long("endpoints", SLICE_ENDPOINTS_MAX);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}].addresses");
        let addresses = list(endpoint, "/addresses");
        if addresses.is_empty() {
            causes.required(&field, "must contain at least 1 address");
        }
        if addresses.len() > ENDPOINT_ADDRESSES_MAX {
            causes.too_long(&field, ENDPOINT_ADDRESSES_MAX);
        }
        for (index, address) in addresses.iter().take(ENDPOINT_ADDRESSES_MAX).enumerate() {
            let address = address.as_str().unwrap_or("");
            causes.check_text(&format!("{field}[{index}]"), address, address_rule(kind, address));
        }
    }
    if list(slice, "/ports").len() > SLICE_PORTS_MAX {
        causes.too_long("ports", SLICE_PORTS_MAX);
        return;
    }
    validate_ports(slice, "", false, causes);
}

fn address_rule(kind: &str, address: &str) -> names::Outcome {
    match kind {
        "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => Err("must be a valid IPv4 address"),
        "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => Err("must be a valid IPv6 address"),
        "FQDN" => names::dns_subdomain(address),
        _ => Ok(()),
    }
}

fn validate_ports(parent: &Value, prefix: &str, named: bool, causes: &mut Causes) {
    let mut seen = std::collections::HashSet::new();
    for (index, port) in list(parent, "/ports").iter().enumerate() {
        let field = format!("{prefix}ports[{index}]");
        let name = text(port, "/name");
        if name.is_empty() && named {
            causes.required(&format!("{field}.name"), "");
        } else if !name.is_empty() {
            causes.check_text(&format!("{field}.name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            causes.duplicate(&format!("{field}.name"), &json!(name));
        }
        if let Err(rule) = number(port, "/port").map_or(Ok(()), names::port_number) {
            causes.invalid(&format!("{field}.port"), &port["port"], rule);
        }
        causes.check_one_of(&format!("{field}.protocol"), text(port, "/protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

/// A slice keeps its type.
pub fn validate_slice_update(old: &Value, new: &Value, causes: &mut Causes) {
    causes.check_unchanged("addressType", old.get("addressType"), new.get("addressType"));
}

//! DNS discovery: records of names, asked anew each time.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::proto::rr::{RData, RecordType as WireType};

use super::refresh::{MetaLabels, Refresh, RefreshError, host_port};
use crate::config::{DnsSdConfig, RecordType};
use crate::metrics::Metrics;
use crate::target::TargetGroup;

pub(super) struct Dns {
    config: DnsSdConfig,
    resolver: Option<TokioResolver>,
    metrics: Metrics,
}

impl Dns {
    pub(super) fn new(config: DnsSdConfig, metrics: Metrics) -> Self {
        Self { config, resolver: None, metrics }
    }

    /// The system's resolver, without its hosts file and without a cache, so that a change is seen at once.
    fn resolver(&mut self) -> Result<&TokioResolver, RefreshError> {
        if self.resolver.is_none() {
            let failed = |reason: String| RefreshError::Lookup { name: "could not load resolv.conf".into(), reason };
            let mut builder = TokioResolver::builder_tokio().map_err(|e| failed(e.to_string()))?;
            let options = builder.options_mut();
            options.use_hosts_file = ResolveHosts::Never;
            options.cache_size = 0;
            self.resolver = Some(builder.build().map_err(|e| failed(e.to_string()))?);
        }
        self.resolver.as_ref().ok_or_else(|| RefreshError::Answer("no resolver".into()))
    }

    async fn group(&mut self, name: &str) -> Result<TargetGroup, RefreshError> {
        let wire = match self.config.record_type {
            RecordType::Srv => WireType::SRV,
            RecordType::A => WireType::A,
            RecordType::Aaaa => WireType::AAAA,
            RecordType::Mx => WireType::MX,
            RecordType::Ns => WireType::NS,
        };
        self.metrics.dns_lookups.inc();
        let answer = self.resolver()?.lookup(name, wire).await;
        let answers = match &answer {
            Ok(lookup) => lookup.answers(),
            // That there are none is an answer.
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => &[],
            Err(error) => {
                self.metrics.dns_lookup_failures.inc();
                return Err(RefreshError::Lookup { name: name.to_owned(), reason: error.to_string() });
            }
        };
        let targets = answers.iter().filter_map(|record| self.target(name, &record.data));
        Ok(TargetGroup { source: name.to_owned(), targets: targets.collect(), ..TargetGroup::default() })
    }

    fn target(&self, name: &str, data: &RData) -> Option<model::labels::Labels> {
        let port = self.config.port;
        let mut labels = MetaLabels::new("__meta_dns_");
        labels.set("name", name);
        let unrooted = |name: &str| name.trim_end_matches('.').to_owned();
        match data {
            RData::SRV(srv) => {
                let target = srv.target.to_utf8();
                labels.address(&host_port(&unrooted(&target), srv.port));
                labels.set("srv_record_target", &target).set("srv_record_port", &srv.port.to_string());
            }
            RData::MX(mx) => {
                let target = mx.exchange.to_utf8();
                labels.address(&host_port(&unrooted(&target), port)).set("mx_record_target", &target);
            }
            RData::NS(ns) => {
                let target = ns.0.to_utf8();
                labels.address(&host_port(&unrooted(&target), port)).set("ns_record_target", &target);
            }
            RData::A(address) => drop(labels.address(&host_port(&address.0.to_string(), port))),
            RData::AAAA(address) => drop(labels.address(&host_port(&address.0.to_string(), port))),
            // Aliases come along with the addresses they lead to.
            _ => return None,
        }
        Some(labels.build())
    }
}

impl Refresh for Dns {
    const MECHANISM: &'static str = "dns";

    /// One group for each name. If one fails, all keep their last targets.
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, RefreshError> {
        let mut groups = Vec::new();
        for name in self.config.names.clone() {
            groups.push(self.group(&name).await?);
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use hickory_resolver::proto::rr::{Name, Record};

    use super::*;

    /// A name server that knows two names.
    async fn serve() -> SocketAddr {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let asked = Message::from_vec(&buffer[..length]).unwrap();
                let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
                let query = asked.queries[0].clone();
                answer.add_query(query.clone());
                let data = match query.name().to_utf8().as_str() {
                    "_http._tcp.example.org." => {
                        RData::SRV(SRV::new(1, 2, 8080, Name::from_utf8("web.example.org.").unwrap()))
                    }
                    "web.example.org." => RData::A(A::new(10, 0, 0, 1)),
                    _ => {
                        answer.metadata.response_code = ResponseCode::NXDomain;
                        socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                        continue;
                    }
                };
                answer.add_answer(Record::from_rdata(query.name().clone(), 1, data));
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        address
    }

    async fn groups(yaml: &str) -> Vec<TargetGroup> {
        let server = serve().await;
        let mut name_server = NameServerConfig::udp(server.ip());
        name_server.connections[0].port = server.port();
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = ResolverOpts::default();
        let mut dns = Dns::new(serde_saphyr::from_str(yaml).unwrap(), Metrics::default());
        dns.resolver = Some(builder.build().unwrap());
        dns.refresh().await.unwrap()
    }

    #[tokio::test]
    async fn records_become_targets() {
        let services = groups("{names: [_http._tcp.example.org]}").await;
        let labels: Vec<_> = services[0].targets[0].iter().collect();
        assert_eq!(
            labels,
            [
                ("__address__", "web.example.org:8080"),
                ("__meta_dns_name", "_http._tcp.example.org"),
                ("__meta_dns_srv_record_port", "8080"),
                ("__meta_dns_srv_record_target", "web.example.org."),
            ]
        );
        let hosts = groups("{names: [web.example.org., none.example.org.], type: A, port: 9100}").await;
        assert_eq!(hosts[0].targets[0].get("__address__"), Some("10.0.0.1:9100"));
        assert!(hosts[1].targets.is_empty(), "that a name does not exist is an answer");
    }
}

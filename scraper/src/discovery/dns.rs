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
    /// What the names last came to.
    last: Vec<TargetGroup>,
}

impl Dns {
    pub(super) fn new(config: DnsSdConfig, metrics: Metrics) -> Self {
        Self { config, resolver: None, metrics, last: Vec::new() }
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

    /// One group for each name. A name that fails keeps its last targets, if there are any; a refresh of which every
    /// name fails is one that failed.
    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, RefreshError> {
        let mut groups = Vec::new();
        let mut failure = None;
        for name in self.config.names.clone() {
            match self.group(&name).await {
                Ok(group) => groups.push(group),
                Err(error) => {
                    tracing::error!(name, %error, "DNS lookup failed");
                    groups.extend(self.last.iter().find(|group| group.source == name).cloned());
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if groups.is_empty() => Err(error),
            _ => {
                self.last.clone_from(&groups);
                Ok(groups)
            }
        }
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
                    other => {
                        let is_refused = other.starts_with("refused");
                        answer.metadata.response_code =
                            if is_refused { ResponseCode::Refused } else { ResponseCode::NXDomain };
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

    /// Asks the name server at an address, over UDP and where that does not suffice over TCP.
    fn asking(server: SocketAddr, yaml: &str) -> Dns {
        let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
        name_server.connections.iter_mut().for_each(|connection| connection.port = server.port());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        *options = ResolverOpts::default();
        (options.attempts, options.cache_size) = (1, 0);
        let mut dns = Dns::new(serde_saphyr::from_str(yaml).unwrap(), Metrics::default());
        dns.resolver = Some(builder.build().unwrap());
        dns
    }

    #[tokio::test]
    async fn records_become_targets() {
        let server = serve().await;
        let services = asking(server, "{names: [_http._tcp.example.org]}").refresh().await.unwrap();
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
        let yaml = "{names: [web.example.org., none.example.org.], type: A, port: 9100}";
        let hosts = asking(server, yaml).refresh().await.unwrap();
        assert_eq!(hosts[0].targets[0].get("__address__"), Some("10.0.0.1:9100"));
        assert!(hosts[1].targets.is_empty(), "that a name does not exist is an answer");
    }

    #[tokio::test]
    async fn a_name_that_fails_keeps_its_targets_alone() {
        let mut dns = asking(serve().await, "{names: [web.example.org., refused.example.org.], type: A, port: 1}");
        let earlier = TargetGroup {
            source: "refused.example.org.".into(),
            targets: vec![model::labels::LabelsBuilder::new().set("__address__", "10.0.0.9:1").build()],
            ..TargetGroup::default()
        };
        dns.last = vec![earlier.clone()];
        let groups = dns.refresh().await.unwrap();
        assert_eq!(groups[0].targets[0].get("__address__"), Some("10.0.0.1:1"));
        assert_eq!(groups[1], earlier);
        assert_eq!((dns.metrics.dns_lookups.get(), dns.metrics.dns_lookup_failures.get()), (2, 1));
        let mut dns = asking(serve().await, "{names: [refused.example.org.], type: A, port: 1}");
        assert!(dns.refresh().await.is_err());
    }

    /// Debian's dnsmasq with some records, until it is dropped.
    struct Dnsmasq(std::process::Child, SocketAddr);

    impl Dnsmasq {
        /// `None` where it is not installed.
        async fn start() -> Option<Self> {
            let program =
                ["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"].into_iter().find(|path| std::fs::exists(path).unwrap())?;
            let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let many = (0..60).map(|i| format!("--srv-host=_many._tcp.example.org,host-{i}.example.org,{}", 9000 + i));
            let child = std::process::Command::new(program)
                .args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"])
                .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/example.org/", "--user="])
                .arg(format!("--port={port}"))
                .arg("--srv-host=_http._tcp.example.org,web.example.org,8080,1,2")
                .args(["--host-record=web.example.org,10.0.0.1,fd00::1", "--cname=alias.example.org,web.example.org"])
                .arg("--mx-host=example.org,mail.example.org,10")
                // A record of any type, in hexadecimal: two labels and the root.
                .arg("--dns-rr=example.org,2,03:6e:73:31:07:65:78:61:6d:70:6c:65:03:6f:72:67:00")
                .args(many)
                .stdin(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let started = Self(child, address);
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::task::yield_now().await;
            }
            Some(started)
        }

        async fn addresses(&self, yaml: &str) -> Vec<String> {
            let groups = asking(self.1, yaml).refresh().await.unwrap();
            let targets = groups.iter().flat_map(|group| &group.targets);
            let mut addresses: Vec<String> = targets.map(|t| t.get("__address__").unwrap().to_owned()).collect();
            addresses.sort();
            addresses
        }
    }

    impl Drop for Dnsmasq {
        fn drop(&mut self) {
            // It may have ended by itself.
            let _dead = self.0.kill();
            let _reaped = self.0.wait();
        }
    }

    #[tokio::test]
    async fn records_of_dnsmasq_become_targets() {
        let Some(server) = Dnsmasq::start().await else { return };
        for (config, expected) in [
            ("names: [_http._tcp.example.org]", "web.example.org:8080"),
            ("names: [web.example.org], type: A, port: 1", "10.0.0.1:1"),
            ("names: [alias.example.org], type: A, port: 1", "10.0.0.1:1"),
            ("names: [web.example.org], type: AAAA, port: 1", "[fd00::1]:1"),
            ("names: [example.org], type: MX, port: 25", "mail.example.org:25"),
            ("names: [example.org], type: NS, port: 53", "ns1.example.org:53"),
        ] {
            assert_eq!(server.addresses(&format!("{{{config}}}")).await, [expected], "{config}");
        }
        assert!(server.addresses("{names: [none.example.org, web.example.org]}").await.is_empty());
        // More than a datagram holds: asked again over TCP.
        assert_eq!(server.addresses("{names: [_many._tcp.example.org]}").await.len(), 60);
    }
}

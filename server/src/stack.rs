//! `cresset` without a subcommand: everything in one process, on embedded defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alertmanager::config::Config as RouterConfig;
use anyhow::{Context, Result};
use cluster::client::Local;
use exporters::node::{Config as NodeConfig, NodeExporter};
use exporters::process::ProcessCollector;
use exposition::registry::Registry;
use net::server::{Config as ListenConfig, Server, listen_address};
use net::shutdown::Shutdown;
use rules::notifier::Notifier;
use serde_json::json;

use crate::app::{self, App, Options};
use crate::config::Variables;
use crate::features::Features;
use crate::flags::{self as program_flags, Mode, StackFlags, WebFlags};
use crate::router::{self, LocalNotifier};

/// Where the program's own components are registered.
const NAMESPACE: &str = "cresset-system";
/// The label that the embedded configuration selects targets by.
const SCRAPE_LABEL: &str = "cresset.io/scrape";
/// How long the embedded router keeps ended silences and its log.
const ROUTER_RETENTION_MS: i64 = 120 * 3600 * 1000;

/// The running stack.
pub struct Stack {
    /// The server.
    pub app: App,
}

/// One of the program's own components.
struct Component {
    name: &'static str,
    address: SocketAddr,
}

/// Starts everything and says on the terminal where it is.
///
/// # Errors
/// If anything cannot be started; says which flag moves an address that is taken.
pub async fn start(flags: &StackFlags, shown: BTreeMap<String, String>, shutdown: &Shutdown) -> Result<Stack> {
    app::make_directory(&flags.data)?;
    let config_file = match &flags.config {
        Some(path) => path.clone(),
        None => write_defaults(&flags.data)?,
    };
    let router_server = bind(&flags.alertmanager_listen, "--alertmanager.listen-address").await?;
    let node_server = bind(&flags.node_listen, "--node.listen-address").await?;
    let router_address = router_server.address();
    let node_address = node_server.address();
    let listen = listen_address(&flags.listen)?;

    let cluster_listen = listen_address(&flags.cluster_listen)?;
    let cluster = cluster::app::start(cluster::app::Config::new(&flags.data, cluster_listen), shutdown.clone())
        .await
        .context("use --cluster.listen-address to listen elsewhere")?;

    let registry = Registry::new();
    registry.add_collector(Arc::new(ProcessCollector::default()));
    let exporter = NodeExporter::new(&NodeConfig::default())?;
    let node_app = exporters::app::router(exporter, None, "/metrics", exporters::app::REQUESTS_MAX);
    shutdown.spawn(node_server.serve(node_app, shutdown.clone()));

    let (router_config, router_file) = match &flags.alertmanager_config {
        Some(path) => (alertmanager::router::read_config(path)?, Some(path.clone())),
        None => (RouterConfig::parse(include_str!("default/alertmanager.yml"))?, None),
    };
    let router_options =
        router::options(flags.data.join("alertmanager"), ROUTER_RETENTION_MS, format!("http://{router_address}"));
    let router_registry = Registry::new();
    let alert_router =
        router::start(router_options, router_config, router_file, router_server, router_registry, shutdown).await?;

    let (web, remote, notifications) = program_flags::web::defaults();
    let options = Options {
        auto_reload: None,
        config_file,
        variables: Variables::Literal,
        mode: Mode::Server,
        storage: flags.data.clone(),
        tsdb: flags.tsdb.clone(),
        features: Features::default(),
        lock: tsdb::LockFile::Lock,
        listen: vec![listen],
        web: WebFlags { lifecycle: true, ..web },
        remote,
        notifications,
        query: flags.query.clone(),
        rules: flags.rules.clone(),
        timestamp_tolerance: scraper::scrape_loop::TIMESTAMP_TOLERANCE,
        flags: shown,
        local_router: Some(Arc::new(LocalNotifier::start(alert_router)) as Arc<dyn Notifier>),
    };
    let app = App::start(options, registry, shutdown).await?;
    let components = [
        Component { name: "cresset-server", address: app.addresses[0] },
        Component { name: "cresset-alertmanager", address: router_address },
        Component { name: "cresset-node-exporter", address: node_address },
    ];
    register(&cluster.local, cluster.node.as_deref().unwrap_or(""), &components).await?;
    announce(&app, router_address, node_address, &cluster);
    Ok(Stack { app })
}

async fn bind(address: &str, flag: &str) -> Result<Server> {
    let address = listen_address(address)?;
    Server::bind(ListenConfig::new(address)).await.with_context(|| format!("use {flag} to listen elsewhere"))
}

/// Puts the embedded configuration and example rules into the data directory, unless they are there: people change them.
fn write_defaults(data: &Path) -> Result<PathBuf> {
    let rules = data.join("rules");
    if !rules.exists() {
        app::make_directory(&rules)?;
        write(&rules.join("example.yml"), include_str!("default/rules.yml"))?;
    }
    let config = data.join("prometheus.yml");
    if !config.exists() {
        write(&config, include_str!("default/prometheus.yml"))?;
    }
    Ok(config)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Registers the components as pods and services, so that discovery finds them as it finds everything else.
async fn register(local: &Local, node: &str, components: &[Component]) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    if local.get(&cluster::client::Place::of(&namespace)).await?.is_none() {
        local.apply(namespace).await?;
    }
    for Component { name, address } in components {
        let labels = json!({
            "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cresset", SCRAPE_LABEL: "true",
        });
        let port = address.port();
        local
            .apply(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": NAMESPACE, "labels": labels,
                    "annotations": { cluster::controller::host::EXTERNAL: "true" },
                },
                "spec": {
                    "nodeName": node, "hostNetwork": true,
                    "containers": [{
                        "name": name, "image": concat!("cresset:", env!("CARGO_PKG_VERSION")),
                        "ports": [{ "name": "http", "containerPort": port, "hostPort": port, "protocol": "TCP" }],
                    }],
                },
            }))
            .await
            .with_context(|| format!("registering {name}"))?;
        local
            .apply(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": name, "namespace": NAMESPACE, "labels": labels },
                "spec": {
                    "selector": { "app.kubernetes.io/name": name },
                    "ports": [{ "name": "http", "port": port, "targetPort": port, "protocol": "TCP" }],
                },
            }))
            .await
            .with_context(|| format!("registering the service of {name}"))?;
    }
    Ok(())
}

/// A few lines for the person at the terminal.
#[allow(clippy::print_stdout, reason = "what the program says to whoever started it")]
fn announce(app: &App, router: SocketAddr, node: SocketAddr, cluster: &cluster::app::Running) {
    let server = app.addresses[0];
    println!("Cresset {} is up.", env!("CARGO_PKG_VERSION"));
    println!("  Server        http://{server}/           queries, targets, rules, alerts");
    println!("  Alert router  http://{router}/");
    println!("  Node metrics  http://{node}/metrics");
    println!("  Cluster API   https://{}/", cluster.address);
    println!("  kubeconfig    {}", cluster.kubeconfig.display());
    println!("  Scraping      pods with the label {SCRAPE_LABEL}=true; these components are among them");
    println!("Try: kubectl --kubeconfig {} get pods -A", cluster.kubeconfig.display());
}

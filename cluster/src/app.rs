//! Putting the cluster together: directory, identity, store, server and controllers.
//!
//! Everything lives in `<data>/cluster`: `store.redb`, `pki/ca.crt`, `pki/ca.key`, `token`, `kubeconfig`. The authority
//! and the token stay across restarts; the server's certificate is issued anew at every start.

mod identity;
mod kubeconfig;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use net::server::{BindError, Server};
use net::shutdown::Shutdown;
use net::tls::{ClientCertificate, Pem, ServerTls, TlsError, TlsLimits, server_config};
use serde_json::json;

use crate::api::namespace::SYSTEM_NAMESPACES;
use crate::api::schema::Schema;
use crate::api::status::Failure;
use crate::apiserver::authn::Authenticator;
use crate::apiserver::{ApiServer, Limits};
use crate::client::Local;
use crate::controller::host::{self, Host};
use crate::controller::{endpoints, events, namespaces};
use crate::objects::Objects;
use crate::store::embedded::{Embedded, HistoryLimits};
use crate::store::{Store, StoreError};

/// The default port.
pub const PORT: u16 = 6443;
/// The address of the `kubernetes` service.
const KUBERNETES_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// What the cluster is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; the cluster takes the folder `cluster` in it.
    pub data_dir: PathBuf,
    /// Where the API listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The host that the kubeconfig and the certificate name; follows from `listen` if absent.
    pub advertise_host: Option<String>,
    /// The machine to register as a node, if any.
    pub host: Option<Host>,
    /// Limits of the API server.
    pub limits: Limits,
    /// How much of the past is kept.
    pub history: HistoryLimits,
}

impl Config {
    /// The defaults on an address, with this machine as a node.
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen,
            advertise_host: None,
            host: Some(Host::local(reachable(listen.ip()))),
            limits: Limits::default(),
            history: HistoryLimits::default(),
        }
    }
}

/// A cluster that is up.
#[derive(Clone, Debug)]
pub struct Running {
    /// The address that is listened on, with the real port.
    pub address: SocketAddr,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Reading and writing objects in process.
    pub local: Local,
    /// Name of the node that was registered, if any.
    pub node: Option<String>,
}

/// Why the cluster cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the cluster cannot be made, read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the cluster is not what it should be.
    #[error("{path}: {reason}; delete it to have a new one made", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be opened.
    #[error("cluster store: {0}")]
    Store(#[from] StoreError),
    /// The address cannot be served.
    #[error("cluster API: {0}")]
    Bind(#[from] BindError),
    /// The certificate made is not usable.
    #[error("cluster API: {0}")]
    Tls(#[from] TlsError),
    /// A certificate cannot be made.
    #[error("cluster certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The objects every cluster has cannot be written.
    #[error("cluster objects: {0}")]
    Objects(#[from] Failure),
    /// A blocking step of the start was cancelled: the process is going down.
    #[error("the start was interrupted")]
    Interrupted,
}

/// Starts the cluster: when this returns, it answers requests. It stops, and flushes, when the signal is raised.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running, Error> {
    let directory = config.data_dir.join("cluster");
    make_private(&directory)?;
    let (path, history) = (directory.join("store.redb"), config.history);
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, history)).await;
    let store = opened.map_err(|_| Error::Interrupted)??;
    let mut server = net::server::Config::new(config.listen);
    server.connections_max = config.limits.watches_max + config.limits.requests_max;
    let advertised = config.advertise_host.clone().unwrap_or_else(|| reachable(config.listen.ip()).to_string());
    let identity = identity::prepare(&directory, &advertised)?;
    server.tls = Some(server_config(
        &ServerTls {
            certificate: Pem::Memory(identity.certificate.into_bytes()),
            key: Pem::Memory(identity.key.into_bytes()),
            client: ClientCertificate::Ignored,
        },
        &TlsLimits::default(),
    )?);
    let server = Server::bind(server).await?;
    let address = server.address();
    let store = Arc::new(store);
    let objects = Arc::new(Objects::new(Arc::clone(&store) as Arc<dyn Store>, Arc::new(Schema::build())));
    let local = Local::new(Arc::clone(&objects));
    seed(&local, reachable(address.ip()), address.port()).await?;
    if let Some(host) = &config.host {
        host::register(&local, host).await?;
    }
    let kubeconfig = directory.join("kubeconfig");
    let text = kubeconfig::print(&advertised, address.port(), &identity.authority, &identity.token);
    write_private(&kubeconfig, text.as_bytes())?;
    let mut tasks = vec![
        shutdown.spawn(namespaces::run(Arc::clone(&objects), identity.authority, shutdown.clone())),
        shutdown.spawn(events::run(Arc::clone(&objects), shutdown.clone())),
        shutdown.spawn(endpoints::run(local.clone(), shutdown.clone())),
    ];
    let node = config.host.as_ref().map(|host| host.name.clone());
    if let Some(host) = config.host {
        tasks.push(shutdown.spawn(host::run(local.clone(), host, shutdown.clone())));
    }
    let api = ApiServer::new(objects, Authenticator::new(&identity.token), config.limits, shutdown.clone());
    tasks.push(shutdown.spawn(server.serve(api.router(), shutdown.clone())));
    let stopping = shutdown.stopping();
    shutdown.spawn(async move {
        stopping.await;
        // Everyone who writes is done before the file is closed.
        futures_util::future::join_all(tasks).await;
        store.close().await;
    });
    tracing::info!(%address, kubeconfig = %kubeconfig.display(), "cluster API is up");
    Ok(Running { address, kubeconfig, local, node })
}

/// The address to reach a listening address at.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // An unspecified IPv6 socket takes IPv4 connections too.
        IpAddr::V6(ip) if ip == Ipv6Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Writes the objects that every cluster has.
async fn seed(local: &Local, ip: IpAddr, port: u16) -> Result<(), Failure> {
    for name in SYSTEM_NAMESPACES {
        let namespace = json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": name } });
        if local.get(&crate::client::Place::of(&namespace)).await?.is_none() {
            local.apply(namespace).await?;
        }
    }
    let metadata = json!({ "name": "kubernetes", "namespace": "default", "labels": { "component": "apiserver", "provider": "kubernetes" } });
    local
        .apply(json!({
            "kind": "Service", "apiVersion": "v1", "metadata": metadata,
            "spec": { "clusterIP": KUBERNETES_IP.to_string(), "ports": [{ "name": "https", "port": 443, "targetPort": port }] },
        }))
        .await?;
    local
        .apply(json!({
            "kind": "Endpoints", "apiVersion": "v1", "metadata": { "name": "kubernetes", "namespace": "default" },
            "subsets": [{ "addresses": [{ "ip": ip.to_string() }], "ports": [{ "name": "https", "port": port }] }],
        }))
        .await?;
    Ok(())
}

/// Makes a folder that only its owner can look into.
fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |source| Error::Io { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // One left behind by a crash may have other permissions.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

//! The HTTP server of every listening port: an accept loop that serves an axum router, plain or over TLS.
//!
//! Invariants: at most `connections_max` connections are open (further ones wait in the kernel's queue); a connection
//! that completes no first request within `header_timeout` is closed, TLS handshake included; one whose peer takes nothing
//! for [`WRITE_STALL_MAX`] is closed; when the shutdown signal
//! is raised nothing new is accepted, requests in flight get `drain_timeout`, and `serve` returns.

pub mod gate;
mod names;
mod stall;
pub mod web_config;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use gate::Gate;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use stall::Stalling;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

pub use stall::WRITE_STALL_MAX;

use crate::shutdown::Shutdown;

/// Default of [`Config::connections_max`].
pub const CONNECTIONS_MAX: usize = 512;
/// Default of [`Config::header_timeout`]. Also how long an idle kept-alive connection stays: longer than usual scrape intervals.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Default of [`Config::drain_timeout`].
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Default of [`Config::streams_max`].
pub const STREAMS_MAX: u32 = 250;

/// The largest head of a request, in bytes, as in Go's servers.
pub const HEADER_BYTES_MAX: u32 = 1 << 20;
/// How long to wait after the system refused to accept (out of file descriptors) before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// HTTP/2 pings go out this often, so that a vanished peer frees its connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What to listen on and the limits of its connections.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address; port 0 picks a free one, see [`Server::address`].
    pub listen: SocketAddr,
    /// Serves TLS when present, see [`crate::tls::server_config`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What stands before the router, by file; its TLS counts before [`Config::tls`].
    pub gate: Option<Arc<Gate>>,
    /// Connections open at once.
    pub connections_max: usize,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams_max: u32,
    /// Time for the handshake and the first request head, and between the heads of two requests.
    pub header_timeout: Duration,
    /// Time for requests in flight once the shutdown signal is raised.
    pub drain_timeout: Duration,
}

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket listens there.
    #[error("address {address} is already in use")]
    InUse {
        /// The address that is taken.
        address: SocketAddr,
    },
    /// The system refuses: no permission, no such interface.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The text of a listen address is not `host:port`.
    #[error("listen address {text:?}: expected host:port, [ipv6]:port or :port")]
    Malformed {
        /// The text.
        text: String,
    },
    /// The host of a listen address has no address.
    #[error("listen address {text:?}: {source}")]
    Unresolved {
        /// The text.
        text: String,
        /// What the resolver said.
        source: io::Error,
    },
}

/// Who a request came from; an extension of every request. `axum::extract::ConnectInfo<SocketAddr>` works as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The remote end of the connection.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// A bound address, not yet serving. Connections made before `serve` wait in the kernel's queue.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
}

/// What every connection task needs; one per server.
struct Shared {
    builder: auto::Builder<TokioExecutor>,
    acceptor: Option<TlsAcceptor>,
    gate: Option<Arc<Gate>>,
    router: Router,
    header_timeout: Duration,
}

impl Config {
    /// Plain HTTP on an address, default limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            gate: None,
            connections_max: CONNECTIONS_MAX,
            streams_max: STREAMS_MAX,
            header_timeout: HEADER_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

impl Server {
    /// Binds the address. Serving starts with [`Server::serve`].
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address: config.listen },
            _ => BindError::Refused { address: config.listen, source },
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, config })
    }

    /// The address bound, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the shutdown signal is raised and the connections are drained.
    pub async fn serve(self, router: Router, shutdown: Shutdown) {
        let shared = Arc::new(Shared::new(&self.config, router));
        let permits = Arc::new(Semaphore::new(self.config.connections_max));
        let graceful = GracefulShutdown::new();
        while let Some((stream, address, permit)) = shutdown.until(self.accept(&permits)).await {
            let (shared, watcher) = (Arc::clone(&shared), graceful.watcher());
            tokio::spawn(async move { shared.connection(stream, address, watcher, permit).await });
        }
        drop(self.listener);
        if tokio::time::timeout(self.config.drain_timeout, graceful.shutdown()).await.is_err() {
            tracing::warn!(address = %self.address, "connections left open at shutdown");
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (stream, address, permit),
                // The peer gave up before we took the connection: nothing to wait for.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Shared {
    fn new(config: &Config, router: Router) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_buf_size(HEADER_BYTES_MAX as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_concurrent_streams(config.streams_max);
        let acceptor = config.tls.clone().map(TlsAcceptor::from);
        Self { builder, acceptor, gate: config.gate.clone(), router, header_timeout: config.header_timeout }
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr, watcher: Watcher, permit: OwnedSemaphorePermit) {
        let _permit = permit;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "cannot disable Nagle's algorithm");
        }
        let active = self.gate.as_ref().map(|gate| gate.current());
        let own = active.as_ref().and_then(|active| active.tls.clone()).map(TlsAcceptor::from);
        let Some(acceptor) = own.or_else(|| self.acceptor.clone()) else {
            return self.requests(stream, Peer { address, tls: false }, watcher).await;
        };
        let stream = match tokio::time::timeout(self.header_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
            Err(_elapsed) => return tracing::debug!(%address, "TLS handshake timed out"),
        };
        if let Some(active) = active
            && !active.allowed_names.is_empty()
        {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            // A client that need not show a certificate and shows none has no name to check.
            if let Some(certificate) = shown
                && !names::has_one_of(certificate, &active.allowed_names)
            {
                return tracing::debug!(%address, "client certificate has none of the allowed names");
            }
        }
        self.requests(stream, Peer { address, tls: true }, watcher).await;
    }

    async fn requests<S>(&self, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let router = TowerToHyperService::new(self.router.clone());
        let service = hyper::service::service_fn({
            let (asked, gate) = (Arc::clone(&asked), self.gate.clone());
            move |mut request: hyper::Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(ConnectInfo(peer.address));
                let (router, gate) = (router.clone(), gate.clone());
                async move {
                    let Some(active) = gate.map(|gate| gate.current()) else {
                        return hyper::service::Service::call(&router, request).await;
                    };
                    let mut response = if active.admits(&mut request).await {
                        hyper::service::Service::call(&router, request).await?
                    } else {
                        active.refusal()
                    };
                    let own = active.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
                    response.headers_mut().extend(own);
                    Ok(response)
                }
            }
        });
        let http2 = self.gate.as_ref().is_none_or(|gate| gate.current().http2);
        let builder = if http2 { self.builder.clone() } else { self.builder.clone().http1_only() };
        let stream = Stalling::new(stream, WRITE_STALL_MAX);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(watcher.watch(connection));
        // Telling HTTP/1 from HTTP/2 waits for bytes without a limit of its own: the first request gets one here.
        let served = match tokio::time::timeout(self.header_timeout, &mut connection).await {
            Ok(served) => served,
            Err(_elapsed) if asked.load(Ordering::Relaxed) => connection.await,
            Err(_elapsed) => return tracing::debug!(address = %peer.address, "no request in time"),
        };
        if let Err(error) = served {
            tracing::debug!(address = %peer.address, %error, "connection ended");
        }
    }
}

/// Reads a listen address as the programs we replace write it: `host:port`, `[::1]:port`, or `:port` for all interfaces.
/// A host name is looked up (blocking), and its first address taken.
pub fn listen_address(text: &str) -> Result<SocketAddr, BindError> {
    let malformed = || BindError::Malformed { text: text.to_owned() };
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    if host.is_empty() {
        return Ok(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if host.contains(':') || host.contains('[') {
        return Err(malformed());
    }
    let mut found =
        (host, port).to_socket_addrs().map_err(|source| BindError::Unresolved { text: text.to_owned(), source })?;
    found.next().ok_or_else(malformed)
}

#[cfg(test)]
mod tests;

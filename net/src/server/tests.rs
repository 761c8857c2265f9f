//! The server over real sockets: limits, draining, TLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tls::{ClientCertificate, Pem, ServerTls, TlsLimits, server_config};

fn loopback() -> Config {
    Config::new(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn router() -> Router {
    Router::new().route("/peer", axum::routing::get(who))
}

async fn who(axum::Extension(peer): axum::Extension<Peer>, ConnectInfo(address): ConnectInfo<SocketAddr>) -> String {
    assert_eq!(peer.address, address);
    format!("{} {}", peer.address.ip(), peer.tls)
}

async fn start(config: Config, shutdown: &Shutdown) -> SocketAddr {
    let server = Server::bind(config).await.unwrap();
    let address = server.address();
    shutdown.spawn(server.serve(router(), shutdown.clone()));
    address
}

#[tokio::test]
async fn serves_plain_http_and_stops() {
    let shutdown = Shutdown::new();
    let address = start(loopback(), &shutdown).await;
    assert_ne!(address.port(), 0);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1 false"), "{answer}");
    // An idle kept-alive connection does not hold the shutdown up.
    let _idle = TcpStream::connect(address).await.unwrap();
    shutdown.finish(Duration::from_secs(10)).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn serves_both_protocols_over_tls() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let tls = ServerTls {
        certificate: Pem::Memory(certificate.pem().into_bytes()),
        key: Pem::Memory(key.serialize_pem().into_bytes()),
        client: ClientCertificate::Ignored,
    };
    let shutdown = Shutdown::new();
    let address =
        start(Config { tls: Some(server_config(&tls, &TlsLimits::default()).unwrap()), ..loopback() }, &shutdown).await;
    let root = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    let url = format!("https://{address}/peer");
    for (http1, version) in [(false, reqwest::Version::HTTP_2), (true, reqwest::Version::HTTP_11)] {
        let builder = reqwest::Client::builder().tls_certs_only([root.clone()]).no_proxy();
        let builder = if http1 { builder.http1_only() } else { builder };
        let response = builder.build().unwrap().get(&url).send().await.unwrap();
        assert_eq!(response.version(), version);
        assert_eq!(response.text().await.unwrap(), "127.0.0.1 true");
    }
    shutdown.finish(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let shutdown = Shutdown::new();
    let address = start(loopback(), &shutdown).await;
    match Server::bind(Config::new(address)).await {
        Err(BindError::InUse { address: taken }) => assert_eq!(taken, address),
        other => panic!("expected InUse, got {other:?}"),
    }
}

#[tokio::test]
async fn silent_connections_are_closed_and_make_room() {
    let shutdown = Shutdown::new();
    let config = Config { connections_max: 1, header_timeout: Duration::from_millis(50), ..loopback() };
    let address = start(config, &shutdown).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"P").await.unwrap(); // could become HTTP/1 or HTTP/2
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET /peer HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    next.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0, "closed");
}

#[test]
fn listen_addresses() {
    let check = |text: &str, expected: Option<&str>| {
        let parsed = listen_address(text).ok().map(|address| address.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    };
    check("127.0.0.1:9090", Some("127.0.0.1:9090"));
    check(":9100", Some("[::]:9100"));
    check("[::1]:0", Some("[::1]:0"));
    check("9090", None);
    check("::1:x", None);
    check("[::1:9", None);
    check("127.0.0.1:70000", None);
}

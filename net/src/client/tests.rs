//! The client against local servers: where credentials go, which files are read when, what a hostile server can do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::server::{Config as ServerConfig, Server};
use crate::shutdown::Shutdown;
use crate::tls::{ClientCertificate, Pem, ServerTls, TlsLimits, server_config};

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// Tells the credentials it was sent.
async fn told(headers: HeaderMap) -> String {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    assert_eq!(of("referer"), "-", "the place before may hold secrets");
    format!("{} {}", of("authorization"), of("x-key"))
}

async fn client(change: impl FnOnce(&mut HttpClientConfig)) -> HttpClient {
    let mut config = HttpClientConfig::default();
    change(&mut config);
    HttpClient::new(config, "test").await.unwrap()
}

/// The answer's text, or the error with its causes.
async fn ask(client: &HttpClient, url: &str) -> Result<String, String> {
    let told = |error: reqwest::Error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    };
    let request = client.request(Method::GET, &Url::parse(url).unwrap()).await.map_err(|e| e.to_string())?;
    request.send().await.map_err(told)?.text().await.map_err(told)
}

#[tokio::test]
async fn credentials_never_follow_a_redirect_to_another_host() {
    let other = serve(Router::new().route("/", get(told))).await;
    let away = other.clone();
    let app = Router::new()
        .route("/away", get(move || async move { Redirect::temporary(&away) }))
        .route("/near", get(|| async { Redirect::temporary("/") }))
        .route("/token", post(|| async { r#"{"access_token":"t","token_type":"Bearer"}"# }))
        .route("/", get(told));
    let base = serve(app).await;
    let secret = || HeaderValues { secrets: vec![Secret::new("k")], ..HeaderValues::default() };
    let cases: [(&str, HttpClient); 3] = [
        (
            "Basic dTpw -",
            client(|c| {
                c.basic_auth =
                    Some(BasicAuth { username: "u".into(), password: Secret::new("p"), ..BasicAuth::default() });
            })
            .await,
        ),
        (
            "Bearer x -",
            client(|c| {
                c.authorization = Some(Authorization { credentials: Secret::new("x"), ..Authorization::default() });
            })
            .await,
        ),
        (
            "Bearer t -",
            client(|c| {
                let token_url = format!("{base}/token");
                c.oauth2 = Some(OAuth2 { client_id: "me".into(), token_url, ..OAuth2::default() });
            })
            .await,
        ),
    ];
    for (expected, client) in cases {
        assert_eq!(ask(&client, &format!("{base}/near")).await.as_deref(), Ok(expected));
        assert_eq!(ask(&client, &format!("{base}/away")).await.as_deref(), Ok("- -"), "{expected}");
    }
    // The library does not know that this header is one, so such a redirect is not followed at all.
    let keyed = client(|c| drop(c.http_headers.insert("X-Key".into(), secret()))).await;
    assert_eq!(ask(&keyed, &format!("{base}/near")).await.as_deref(), Ok("- k"));
    let refused = ask(&keyed, &format!("{base}/away")).await.unwrap_err();
    assert!(refused.contains("secrets in http_headers must not go"), "{refused}");
}

/// Whichever address comes first, the others are tried behind it: a name of several is reached as long as one answers.
#[tokio::test]
async fn connections_spread_over_addresses_reach_their_host() {
    let url = serve(Router::new().route("/", axum::routing::get(|| async { "here" }))).await;
    let url = url.replace("127.0.0.1", "localhost");
    for _ in 0..8 {
        let client = client(|config| config.spreads_addresses = true).await;
        assert_eq!(ask(&client, &url).await.unwrap(), "here");
    }
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let again = move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        Redirect::temporary("/")
    };
    let base = serve(Router::new().route("/", get(again))).await;
    let error = ask(&client(|_| {}).await, &base).await.unwrap_err();
    assert!(error.contains("stopped after 10 redirects"), "{error}");
    assert_eq!(count.load(Ordering::Relaxed), REDIRECTS_MAX + 1);
    let still = client(|c| c.follow_redirects = false).await;
    assert_eq!(ask(&still, &base).await.as_deref(), Ok(""));
}

#[tokio::test]
async fn secrets_in_files_are_read_at_each_use() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let token = |headers: HeaderMap| async move {
        let told = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("-").replace(' ', "_");
        // Ends at once: each request needs another.
        format!(r#"{{"access_token":"{told}","token_type":"Bearer","expires_in":1}}"#)
    };
    let base = serve(Router::new().route("/", get(told)).route("/token", post(token))).await;
    let basic = BasicAuth { username_file: file("user"), password_file: file("password"), ..BasicAuth::default() };
    let bearer = Authorization { credentials_file: file("token"), ..Authorization::default() };
    let headers = HeaderValues { files: vec![file("key")], ..HeaderValues::default() };
    let oauth2 = OAuth2 {
        client_id: "me".into(),
        client_secret_file: file("secret"),
        token_url: format!("{base}/token"),
        ..OAuth2::default()
    };
    let clients = [
        client(|c| c.basic_auth = Some(basic)).await,
        client(|c| c.authorization = Some(bearer)).await,
        client(|c| drop(c.http_headers.insert("X-Key".into(), headers))).await,
        client(|c| c.oauth2 = Some(oauth2)).await,
    ];
    let missing = ask(&clients[1], &base).await.unwrap_err();
    assert!(missing.starts_with(&format!("unable to read secret file {}", file("token"))), "{missing}");
    for (text, expected) in [
        ("1", ["Basic MTox -", "Bearer 1 -", "- 1", "Bearer Basic_bWU6MQ== -"]),
        ("22\n", ["Basic MjI6MjI= -", "Bearer 22 -", "- 22", "Bearer Basic_bWU6MjI= -"]),
    ] {
        ["user", "password", "token", "key", "secret"].iter().for_each(|name| write(name, text));
        for (client, expected) in clients.iter().zip(expected) {
            assert_eq!(ask(client, &base).await.as_deref(), Ok(expected));
        }
    }
}

/// A certificate for 127.0.0.1 and its key.
fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

async fn serve_tls(shutdown: &Shutdown, server: &(String, String), accepted: &str) -> String {
    let memory = |text: &str| Pem::Memory(text.as_bytes().to_vec());
    let tls = ServerTls {
        certificate: memory(&server.0),
        key: memory(&server.1),
        client: ClientCertificate::Required(memory(accepted)),
    };
    let loopback = ServerConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let bound =
        Server::bind(ServerConfig { tls: Some(server_config(&tls, &TlsLimits::default()).unwrap()), ..loopback })
            .await
            .unwrap();
    let url = format!("https://{}/", bound.address());
    shutdown.spawn(bound.serve(Router::new().route("/", get(|| async { "ok" })), shutdown.clone()));
    url
}

#[tokio::test]
async fn tls_files_are_read_anew_when_they_change() {
    let (server, own, other) = (pair(), pair(), pair());
    let shutdown = Shutdown::new();
    let url = serve_tls(&shutdown, &server, &own.0).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let write = |name: &str, text: &str| {
        // As files are replaced by who cares: written beside, then renamed.
        let beside = directory.path().join("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, Path::new(&path(name))).unwrap();
    };
    [("ca", &other.0), ("cert", &other.0), ("key", &other.1)].iter().for_each(|(name, text)| write(name, text));
    let client = client(|c| {
        c.tls_config.ca_file = path("ca");
        c.tls_config.cert_file = path("cert");
        c.tls_config.key_file = path("key");
    })
    .await;
    assert!(ask(&client, &url).await.is_err(), "signed by nobody it trusts");
    write("ca", &server.0);
    assert!(ask(&client, &url).await.is_err(), "the server does not know this client");
    write("cert", &own.0);
    let refused = ask(&client, &url).await.unwrap_err();
    assert!(refused.to_lowercase().contains("key"), "certificate and key do not belong together: {refused}");
    write("key", &own.1);
    assert_eq!(ask(&client, &url).await.as_deref(), Ok("ok"));
    std::fs::remove_file(path("ca")).unwrap();
    let refused = ask(&client, &url).await.unwrap_err();
    assert!(refused.contains("unable to read"), "{refused}");
    shutdown.finish(std::time::Duration::from_secs(10)).await.unwrap();
}

/// Answers every connection with these bytes.
async fn answer_with(bytes: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(&bytes).await;
        }
    });
    format!("http://{address}/")
}

#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    let head = |headers: String| format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{headers}\r\n").into_bytes();
    let many = |count: usize| (0..count).map(|i| format!("x-{i}: y\r\n")).collect::<String>();
    let client = client(|_| {}).await;
    let fits = answer_with(head(many(ANSWER_HEADERS_MAX - 1))).await;
    assert_eq!(ask(&client, &fits).await.as_deref(), Ok(""));
    let too_many = answer_with(head(many(ANSWER_HEADERS_MAX))).await;
    assert!(ask(&client, &too_many).await.is_err());
    // It reads on by whole buffers, so the limit is not one of single bytes.
    let too_long = answer_with(head(format!("x: {}\r\n", "y".repeat(4 * ANSWER_HEAD_BYTES_MAX)))).await;
    assert!(ask(&client, &too_long).await.is_err());
}
